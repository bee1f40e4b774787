"""``e3 campaign``: run a matrix of overlays, scenarios and programs, and show how far it is."""

import argparse
import asyncio
import contextlib
import os
import signal
from pathlib import Path

from e3.cli import terminal
from e3.cli.project import ROOT, Verbs
from e3.errors import ConfigurationError
from e3.evaluation.campaign import estimate, matrix, overview
from e3.evaluation.campaign import run as running
from e3.remote.tasks import beside

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
    run.add_argument("--jobs", metavar="N", type=int, default=1, help="cells at a time (default 1)")
    run.set_defaults(do=run_campaign)
    show = parts.add_parser("show", help="show cells, verdicts and time left")
    show.add_argument("name", nargs="?", metavar="NAME", help="default: the one that ran last")
    show.set_defaults(do=show_campaign)


def run_campaign(arguments: argparse.Namespace) -> int:
    """Run a campaign, or say what it would take."""
    if arguments.jobs < 1:
        raise ConfigurationError(f"--jobs: {arguments.jobs} is not 1 or more")
    asked = matrix.read(Path(os.path.normpath(Path(arguments.cwd, arguments.file))))
    if arguments.dry_run:
        for line in estimate.lines(asked, ROOT, jobs=arguments.jobs):
            terminal.say(line)
        return 0
    stopped = asyncio.run(_run(asked, arguments.jobs))
    state = overview.read(ROOT, asked.file.name)
    terminal.show(state.rows(), header=overview.HEADER)
    terminal.say(f"results: {running.results_of(Path(), asked.file.name)}")
    return CANCELLED if stopped else int(any(cell.state == "failed" for cell in state.cells))


async def _run(asked: matrix.Matrix, jobs: int) -> bool:
    """Run until it ends or is stopped; return whether it was stopped."""
    work = running.run(
        asked, ROOT, jobs=jobs, tell=lambda cell, what: terminal.say(f"{cell}: {what}")
    )
    try:
        async with beside(work) as campaign:

            def end() -> None:
                # once: a second cancellation would interrupt the clean-up
                if not campaign.cancelling():
                    campaign.cancel()
                    terminal.say("stopping; what has finished is kept")

            for number in SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, end)
            await campaign
    except asyncio.CancelledError:
        return True
    return False


def show_campaign(arguments: argparse.Namespace) -> int:
    """Show a campaign."""
    state = overview.read(ROOT, arguments.name or overview.latest(ROOT))
    terminal.show(state.rows(), header=overview.HEADER)
    with contextlib.suppress(BrokenPipeError):
        terminal.say(state.summary)
    return 0
