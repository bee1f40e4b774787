"""``e3 run``: run a session on a stack that is up, without Pulumi's engine."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from e3.cli import terminal
from e3.cli.display import Display, display
from e3.cli.keyboard import Keyboard
from e3.cli.place import ROOT, Verbs
from e3.cli.project import authority, session_settings, up
from e3.cli.runs import find
from e3.deployed import Stack
from e3.errors import ConfigurationError, HostError
from e3.experiment import Outputs, Program, SessionSettings
from e3.interfaces import Authority, Host
from e3.remote.tasks import beside, gather_or_cancel
from e3.session import programs
from e3.session.inputs import Earlier, check
from e3.session.outputs import FOLDER
from e3.session.plan import plan_settings
from e3.session.prepare import prepare
from e3.session.progress import Observer
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import EXIT_STATUS, Verdict
from e3.settings import patterns

ANSWER_SECONDS = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "run",
        help="run a program on a stack that is up",
        usage="e3 run [PROGRAM] [--entry FILE] [--stack STACK] [--parties N] [--deadline SECONDS] "
        "[--stdin] [--inputs FOLDER] [--input-from RUN] [--outputs evidence|private] "
        "[--keep PATTERN] [--json] [-- ARGS...]",
        description="Run a session on a stack that is up, with everything that the stack's "
        "configuration says of its sessions. Ctrl-C stops it on all hosts.",
        epilog="exit status: "
        + ", ".join(f"{status} {verdict}" for verdict, status in EXIT_STATUS.items())
        + "; 2 if no session could be run",
    )
    verb.add_argument(
        "program",
        metavar="PROGRAM",
        nargs="?",
        help="a Python file or a notebook, which travels alone, or a folder; default: e3:program. "
        "ARGS replace e3:args, which are those of e3:program",
    )
    verb.add_argument(
        "--entry",
        metavar="FILE",
        action="append",
        help="the file of the folder that is run; default: __main__.py or main.py",
    )
    verb.add_argument("--stack", metavar="STACK", help="default: the selected one")
    verb.add_argument("--parties", metavar="N", type=int, help="default: as configured")
    verb.add_argument(
        "--no-private-args",
        action="store_true",
        help="leave out e3:private-args: the program does not know them",
    )
    verb.add_argument(
        "--inputs",
        metavar="FOLDER",
        help="private inputs, in a subfolder for each host; default: e3:inputs, for e3:program",
    )
    verb.add_argument(
        "--input-from",
        metavar="RUN",
        help="take the output files of an earlier run as inputs, each on its own host",
    )
    verb.add_argument(
        "--outputs",
        choices=get_args(Outputs),
        help="where output files go: the evidence, or private: they stay on their hosts",
    )
    verb.add_argument(
        "--keep",
        metavar="PATTERN",
        action="append",
        help="files that the program writes where it runs and that are output as well: '*.enc'",
    )
    verb.add_argument(
        "--stdin",
        action="store_true",
        help="pass on standard input to party 0, and show at once what that prints",
    )
    verb.add_argument("--deadline", metavar="SECONDS", type=float, help="default: as configured")
    verb.add_argument(
        "--json",
        action="store_true",
        help="print the result as JSON, like the stack output `session`",
    )
    verb.set_defaults(do=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the session; return the exit status of its verdict."""
    if arguments.deadline is not None and not 1 <= arguments.deadline < float("inf"):
        raise ConfigurationError(f"--deadline: {arguments.deadline:g} is not 1 second or more")
    stack = up(arguments.stack)
    settings = settings_of(arguments, session_settings(stack))
    program = programs.load(settings.program, settings.args, settings.entry)
    if not 1 <= settings.parties <= len(stack.hosts):
        asked = "e3:parties" if arguments.parties is None else "--parties"
        raise ConfigurationError(
            f"{asked}: {settings.parties} parties on the {len(stack.hosts)} hosts of stack "
            f"{stack.name}; choose 1 to {len(stack.hosts)}, at most one a host"
        )
    if settings.inputs is not None:
        asked = "e3:inputs" if arguments.inputs is None else "--inputs"
        check(asked, settings.inputs, [host.name for host in stack.hosts])
    seats = plan_settings(settings, program, stack.hosts, stack.network.addresses)
    seated = {seat.host for seat in seats.seats}
    hosts = [host for host in stack.hosts if host.name in seated]
    certifier = authority(stack, settings)
    if arguments.stdin and sys.stdin is None:
        raise ConfigurationError("--stdin: standard input is closed; give a terminal or a file")
    before = earlier(stack, arguments.input_from)
    keyboard = Keyboard(quietly=arguments.json) if arguments.stdin else None
    how = {"quietly": arguments.json, "typed": arguments.stdin}

    async def conduct() -> tuple[Display, Mapping[str, Any] | None]:
        await _require(stack.name, hosts)
        with display(stack.name, seats, stack.choice.name, **how) as shown:
            spec = spec_of(stack, settings, program, certifier, shown)
            return shown, await _run(replace(spec, earlier=before, console=keyboard), shown)

    try:
        # in one event loop, which connections over SSH do not outlive
        shown, result = asyncio.run(conduct())
    except KeyboardInterrupt:  # while hosts are asked whether they answer
        return _cancelled()
    if result is None:
        return _cancelled()
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        shown.conclude(result)
    return EXIT_STATUS[Verdict(result["verdict"])]


def _cancelled() -> int:
    """Say that no session began; return the exit status."""
    terminal.complain("cancelled before it began")
    return EXIT_STATUS[Verdict.CANCELLED]


def settings_of(arguments: argparse.Namespace, settings: SessionSettings) -> SessionSettings:
    """Return a stack's session settings with what the command line replaces.

    ``e3:entry``, ``e3:args`` and ``e3:inputs`` are those of ``e3:program``: another program does
    not get them.
    """
    args = arguments.args
    if arguments.program is not None:
        path = Path(os.path.normpath(Path(arguments.cwd, arguments.program)))
        path = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        if args is None and path != Path(os.path.normpath(settings.program)):
            args = ()
        if path != Path(os.path.normpath(settings.program)):
            settings = replace(settings, inputs=None, entry="")
        settings = replace(settings, program=path)
    if arguments.entry is not None:
        settings = replace(settings, entry=only(arguments.entry))
    if args is not None:
        settings = replace(settings, args=tuple(args))
    if arguments.parties is not None:
        settings = replace(settings, parties=arguments.parties)
    if arguments.deadline is not None:
        settings = replace(settings, deadline_seconds=arguments.deadline)
    if arguments.no_private_args:
        settings = replace(settings, private_args={})
    return with_files(arguments, settings)


def with_files(arguments: argparse.Namespace, settings: SessionSettings) -> SessionSettings:
    """Return settings with what the command line says of files and standard input."""
    rules = settings.rules
    if arguments.inputs is not None:
        settings = replace(settings, inputs=Path(arguments.cwd, arguments.inputs))
    if arguments.outputs is not None:
        rules = replace(rules, outputs=arguments.outputs)
    if arguments.keep is not None:
        rules = replace(rules, keep=patterns("--keep", json.dumps(arguments.keep)))
    if arguments.stdin:
        # nobody types as fast as parties connect
        limits = replace(rules.limits, connect_seconds=settings.deadline_seconds)
        rules = replace(rules, limits=limits)
    return replace(settings, rules=rules)


def only(entries: Sequence[str]) -> str:
    """Return the one entry that was asked for."""
    if len(entries) > 1:
        raise ConfigurationError(f"--entry: {len(entries)} entries; a session runs one of them")
    return entries[0]


def earlier(stack: Stack, name: str | None) -> Earlier | None:
    """Return the run of a stack whose output is input; raise `E3Error` if there is none."""
    if name is None:
        return None
    found = find(name, stack.name)
    return Earlier(session=found.id, folder=None if found.private else found.folder / FOLDER)


def spec_of(
    stack: Stack,
    settings: SessionSettings,
    program: Program,
    certifier: Authority | None,
    observer: Observer,
) -> SessionSpec:
    """Return the session of a program on a stack that is up."""
    return prepare(
        settings=settings,
        program=program,
        joined=stack.joined,
        sessions=stack.sessions,
        authority=certifier,
        observer=observer,
    )


async def _run(spec: SessionSpec, shown: Display) -> Mapping[str, Any] | None:
    """Return the result, also of a cancelled session; None if it had not begun."""
    try:
        async with beside(run_session(spec)) as session, beside(shown.follow()):

            def end() -> None:
                # once: a second cancellation would interrupt the clean-up
                if not session.cancelling():
                    session.cancel()
                    shown.ending()

            for number in SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, end)
            return (await session).to_properties()
    except asyncio.CancelledError:
        return shown.evidence()
    finally:
        shown.refresh()


async def _require(stack: str, hosts: Sequence[Host]) -> None:
    """Raise `HostError` unless every host answers."""

    async def ask(host: Host) -> str | None:
        try:
            done = await host.access.run(["true"], timeout_seconds=ANSWER_SECONDS)
        except HostError:
            return f"{host.name} is gone"
        except TimeoutError:
            return f"{host.name} does not answer"
        return f"{host.name} runs no commands" if done.exit else None

    wrong = [answer for answer in await gather_or_cancel(map(ask, hosts)) if answer]
    if wrong:
        raise HostError(
            f"stack {stack}: {len(wrong)} of {len(hosts)} hosts cannot be used "
            f"({', '.join(wrong)}); run `pulumi refresh --stack {stack}`, then "
            f"`pulumi up --stack {stack}`"
        )
