"""What `e3 invite` and `e3 join` have in common: options, signals, and the result."""

import argparse
import asyncio
import contextlib
import ipaddress
import json
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from e3.adhoc.conduct import Own
from e3.adhoc.flows import Setting
from e3.adhoc.links import Reach
from e3.adhoc.people import People, pseudonym
from e3.cli import terminal
from e3.cli.consent import Terminal
from e3.cli.display import Display, shown_on
from e3.didcomm.session.bodies import Roster
from e3.didcomm.session.invitation import URL, URL_LENGTH
from e3.errors import ConfigurationError
from e3.experiment import Program
from e3.remote.tasks import beside
from e3.remote.text import printable
from e3.session.results import SessionResult
from e3.session.verdicts import EXIT_STATUS, Verdict

MEDIATOR = "E3_MEDIATOR"
TEXT_LENGTH = 65_536
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(
    arguments: argparse.Namespace,
    mediator: str,
    flow: Callable[[Setting], Coroutine[Any, Any, SessionResult]],
) -> int:
    """Run a flow; return the exit status of its verdict."""
    console = terminal.console(stderr=arguments.json)
    people = People.of_user()
    if arguments.pseudonym:
        me = pseudonym(arguments.pseudonym)
    else:
        me = people.self(name=arguments.name or "")
    shown: list[Display] = []

    @contextmanager
    def displays(_: Roster) -> Iterator[Display]:
        with shown_on(console, quietly=arguments.json) as display:
            display.of_stack = False
            shown.append(display)
            yield display

    setting = Setting(
        me=me,
        people=people,
        mediator=mediator,
        reach=Reach(
            stun=tuple(arguments.stun),
            relay_only=arguments.relay_only,
            loopback=is_here(mediator),
        ),
        person=Terminal(console, people, me.did, yes=arguments.yes),
        displays=displays,
        topic=getattr(arguments, "board", None) or "",
        credentials=tuple(
            text_file("--credential", arguments, each) for each in arguments.credential
        ),
    )
    try:
        result = asyncio.run(_until_ended(flow(setting), shown, console))
    except asyncio.CancelledError:
        terminal.complain("cancelled")
        return EXIT_STATUS[Verdict.CANCELLED]
    properties = result.to_properties()
    if arguments.json:
        print(json.dumps(properties, indent=2))
    elif shown:
        shown[-1].conclude(properties)
    return EXIT_STATUS[result.verdict]


async def _until_ended(
    flow: Coroutine[Any, Any, SessionResult], shown: list[Display], console: Console
) -> SessionResult:
    """Return the result; a signal cancels the flow once, and its clean-up goes on."""
    async with beside(flow) as running, beside(_follow(shown)):

        def end() -> None:
            if not running.cancelling():
                running.cancel()
                console.print("leaving the session", style="yellow")

        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, end)
        return await running


async def _follow(shown: list[Display]) -> None:
    while True:
        await asyncio.sleep(0.1)
        if shown:
            shown[-1].refresh()


def own(arguments: argparse.Namespace, program: Program, deadline_seconds: float) -> Own:
    """Return what only this party has."""
    given = Path(arguments.cwd, arguments.input) if arguments.input is not None else None
    if given is not None and not given.exists():
        raise ConfigurationError(f"--input: {given} does not exist; give a file or a folder")
    return Own(
        program=program,
        private=tuple(arguments.args or ()),
        inputs=given,
        deadline_seconds=deadline_seconds,
    )


def text_file(option: str, arguments: argparse.Namespace, name: str) -> str:
    """Return the text of a file that an option names."""
    path = Path(arguments.cwd, name)
    try:
        with path.open(encoding="ascii") as file:
            return file.read(TEXT_LENGTH).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{option}: {path} cannot be read: {error}") from None


def chosen_mediator(given: str | None) -> str:
    """Return the mediator's URL; raise `ConfigurationError` if none is known."""
    url = given or os.environ.get(MEDIATOR, "")
    if not is_url(url):
        raise ConfigurationError(
            f"--mediator: {printable(url) or 'none'} is not a URL of at most {URL_LENGTH} "
            f"characters; give that of a mediator that all of you reach, or set {MEDIATOR}; "
            "`e3 mediator` runs one"
        )
    return url


def is_url(text: str) -> bool:
    """Return whether a text can be the URL of a mediator."""
    try:
        host = urlsplit(text).hostname
    except ValueError:
        return False
    fits = len(text) <= URL_LENGTH and URL.fullmatch(text)
    return bool(host and fits and text.startswith(("http://", "https://")))


def is_here(url: str) -> bool:
    """Return whether a mediator is on this machine's loopback, and so all its parties are."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
