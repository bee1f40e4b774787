"""``e3 campaign``: run a matrix of overlays, scenarios and programs, and show how far it is."""

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from e3.cli import terminal
from e3.cli.place import ROOT, Verbs
from e3.errors import ConfigurationError, ResultsError
from e3.evaluation import results_file
from e3.evaluation.campaign import overview, place
from e3.remote.tasks import beside

if TYPE_CHECKING:
    from e3.evaluation.campaign.matrix import Matrix

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CANCELLED = 130


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "campaign", help="run a matrix of overlays, scenarios and programs, and show how far it is"
    )
    parts = verb.add_subparsers(dest="part", required=True, metavar="PART")
    run = parts.add_parser(
        "run",
        help="run a campaign; one that was interrupted continues",
        description="Run what has not finished of a campaign. Ctrl-C stops it, removes its hosts, "
        "and keeps all repetitions that have finished.",
        epilog="exit status: 0, 1 if a cell failed, 130 if it was stopped",
    )
    run.add_argument("file", metavar="FILE", help="such as campaigns/overlays.yaml")
    run.add_argument(
        "--dry-run", action="store_true", help="show matrix, time and money; run nothing"
    )
    run.add_argument(
        "--only",
        metavar="WHAT",
        nargs="+",
        action="extend",
        default=[],
        help="these cells alone: an overlay, a scenario, or OVERLAY/SCENARIO; the others wait",
    )
    run.add_argument("--jobs", metavar="N", type=int, default=1, help="cells at a time (default 1)")
    terminal.offer_json(run, "its cells, once it has ended,")
    run.set_defaults(do=run_campaign)
    show = parts.add_parser("show", help="show cells, verdicts and time left")
    show.add_argument("name", nargs="?", metavar="NAME", help="default: the one that ran last")
    terminal.offer_json(show, "its cells")
    show.set_defaults(do=show_campaign)
    clean = parts.add_parser(
        "clean", help="remove the hosts of a campaign that was killed; its results stay"
    )
    clean.add_argument("name", metavar="NAME")
    terminal.offer_json(clean, "the stacks that were removed")
    clean.set_defaults(do=clean_campaign)


def clean_campaign(arguments: argparse.Namespace) -> int:
    """Remove the stacks of a campaign that does not run."""
    from e3.evaluation.campaign import run  # noqa: PLC0415 -- see `run_campaign`

    removed: list[str] = []

    def tell(stack: str, what: str) -> None:
        removed.append(stack)
        if not arguments.json:
            terminal.say(f"{stack}: {what}")

    with results_file.Writer(known_results(arguments.name)):  # nobody else has it open
        run.remove_stacks(arguments.name, ROOT, tell)
    if arguments.json:
        terminal.say_json({"removed": removed})
    elif not removed:
        terminal.say("it has left nothing")
    return 0


def known_results(name: str) -> Path:
    """Return the file of results of a campaign; raise `ResultsError` if there is none."""
    path = place.results_of(ROOT, name)
    if not path.is_file():
        raise ResultsError(
            f"no campaign {name} has run here; `e3 campaign show` shows the last one"
        )
    return path


def run_campaign(arguments: argparse.Namespace) -> int:
    """Run a campaign, or say what it would take."""
    if arguments.jobs < 1:
        raise ConfigurationError(f"--jobs: {arguments.jobs} is not 1 or more")
    # here: they load Pulumi, which takes a second, and other verbs do not have it
    from e3.evaluation.campaign import estimate, matrix  # noqa: PLC0415

    asked = matrix.read(Path(os.path.normpath(Path(arguments.cwd, arguments.file))))
    if arguments.dry_run:
        lines = list(estimate.lines(asked, ROOT, jobs=arguments.jobs, only=arguments.only))
        if arguments.json:
            terminal.say_json({"estimate": lines})
            return 0
        for line in lines:
            terminal.say(line)
        return 0
    say = (lambda _: None) if arguments.json else terminal.say
    stopped = asyncio.run(_run(asked, arguments, say))
    state = overview.read(ROOT, asked.file.name)
    if arguments.json:
        terminal.say_json(_described(state))
    else:
        terminal.show(state.rows(), header=overview.HEADER)
        terminal.say(f"results: {place.results_of(Path(), asked.file.name)}")
    return CANCELLED if stopped else int(any(cell.state == "failed" for cell in state.cells))


async def _run(asked: "Matrix", arguments: argparse.Namespace, say: Callable[[str], None]) -> bool:
    """Run until it ends or is stopped; return whether it was stopped."""
    from e3.evaluation.campaign import run  # noqa: PLC0415 -- see `run_campaign`

    work = run.run(
        asked,
        ROOT,
        jobs=arguments.jobs,
        tell=lambda cell, what: say(f"{cell}: {what}"),
        only=arguments.only,
    )
    try:
        async with beside(work) as campaign:

            def end() -> None:
                # once: a second cancellation would interrupt the clean-up
                if not campaign.cancelling():
                    campaign.cancel()
                    say("stopping; what has finished is kept")

            for number in SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, end)
            await campaign
    except asyncio.CancelledError:
        return True
    return False


def show_campaign(arguments: argparse.Namespace) -> int:
    """Show a campaign."""
    state = overview.read(ROOT, arguments.name or overview.latest(ROOT))
    if arguments.json:
        terminal.say_json(_described(state))
        return 0
    terminal.show(state.rows(), header=overview.HEADER)
    with contextlib.suppress(BrokenPipeError):
        terminal.say(state.summary)
    return 0


def _described(state: overview.Overview) -> dict[str, object]:
    """Return how far a campaign is as values of JSON."""
    return {
        "name": state.name,
        "running": state.running,
        "left_seconds": state.left_seconds,
        "results": str(place.results_of(Path(), state.name)),
        "cells": [
            {
                "cell": cell.cell,
                "state": cell.state,
                "what": cell.what,
                "finished": cell.finished,
                "total": cell.total,
                "disturbed": cell.disturbed,
                "verdicts": {str(verdict): count for verdict, count in cell.verdicts.items()},
            }
            for cell in state.cells
        ],
    }
