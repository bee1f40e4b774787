"""What `e3 invite` and `e3 join` have in common: options, signals, and the result."""

import argparse
import asyncio
import contextlib
import ipaddress
import json
import os
import re
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from e3.adhoc.links import Reach
from e3.adhoc.people import People, pseudonym
from e3.adhoc.setting import Own, Setting
from e3.cli import terminal
from e3.cli.consent import Terminal
from e3.cli.display import Display, shown_on
from e3.didcomm import did as dids
from e3.didcomm import web_did
from e3.didcomm.errors import DidcommError
from e3.didcomm.session.bodies import Roster
from e3.didcomm.session.invitation import MOST_OTHERS, URL, URL_LENGTH
from e3.errors import ConfigurationError
from e3.experiment import Program
from e3.remote.tasks import beside
from e3.remote.text import printable
from e3.session.results import SessionResult
from e3.session.verdicts import EXIT_STATUS, Verdict

MEDIATOR = "E3_MEDIATOR"
PROXY = re.compile(r"socks5h?://[A-Za-z0-9.:@_\[\]-]{1,200}")
TEXT_LENGTH = 65_536
SIGNALS = tuple(each for each in signal.Signals if each.name in {"SIGINT", "SIGTERM", "SIGHUP"})
"""Those of them that this system has."""


def run(
    arguments: argparse.Namespace,
    mediator: str,
    flow: Callable[[Setting], Coroutine[Any, Any, SessionResult]],
) -> int:
    """Run a flow at mediators, URLs with spaces between them; return its verdict's exit status."""
    console = terminal.console(stderr=arguments.json)
    people = People.of_user()
    if arguments.pseudonym:
        me = pseudonym(arguments.pseudonym)
    else:
        me = people.self(name=arguments.name or "")
    shown: list[Display] = []
    ended: list[Display] = []

    def conclude(result: SessionResult) -> None:
        if ended and not arguments.json:
            ended[-1].conclude(result.to_properties())

    @contextmanager
    def displays(_: Roster) -> Iterator[Display]:
        with shown_on(console, quietly=arguments.json) as display:
            display.of_stack = False
            shown[:] = [display]
            yield display
        shown.clear()
        ended[:] = [display]

    setting = Setting(
        me=me,
        people=people,
        mediator=mediator,
        reach=reach(arguments, mediator),
        person=Terminal(console, people, me.did, yes=arguments.yes, conclude=conclude),
        displays=displays,
        expected=tuple(somebody(people, each) for each in arguments.expected),
        topic=getattr(arguments, "board", None) or "",
        nearby=getattr(arguments, "nearby", False),
        credentials=tuple(
            text_file("--credential", arguments, each) for each in arguments.credential
        ),
    )
    try:
        result = asyncio.run(_until_ended(flow(setting), shown, console))
    except asyncio.CancelledError:
        terminal.complain("cancelled")
        return EXIT_STATUS[Verdict.CANCELLED]
    if arguments.json:
        print(json.dumps(result.to_properties(), indent=2))
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
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends all at once
                asyncio.get_running_loop().add_signal_handler(number, end)
        return await running


async def _follow(shown: list[Display]) -> None:
    while True:
        await asyncio.sleep(0.1)
        if shown:
            shown[-1].refresh()


def reach(arguments: argparse.Namespace, mediator: str) -> Reach:
    """Return how this party is reached and calls others; raise `ConfigurationError`."""
    if arguments.proxy and not PROXY.fullmatch(arguments.proxy):
        raise ConfigurationError(
            f"--proxy: {printable(arguments.proxy)} is not the URL of a SOCKS proxy, as "
            "socks5://127.0.0.1:9050 is"
        )
    if arguments.proxy and arguments.relay_only:
        raise ConfigurationError(
            "--proxy with --relay-only: the mediator's relay would learn the address that --proxy "
            "keeps from the mediator; choose one"
        )
    return Reach(
        stun=tuple(arguments.stun),
        relay_only=arguments.relay_only,
        loopback=all(map(is_here, mediator.split())),
        proxy=arguments.proxy,
    )


def somebody(people: People, text: str) -> str:
    """Return the DID of whom ``--with`` names; raise `ConfigurationError`."""
    known = {name.casefold(): did for did, name in people.known().items()}
    if text.casefold() in known:
        return known[text.casefold()]
    try:
        if text.startswith("did:") and not text.startswith("did:web:"):
            return dids.syntax(text)
        did = text if text.startswith("did:") else f"did:web:{text.replace(':', '%3A')}"
        web_did.url(did)
    except DidcommError as error:
        raise ConfigurationError(
            f"--with: {error}; or give a name of `e3 id`, or a DID of another method"
        ) from None
    return did


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
    """Return the mediators' URLs with a space between them; raise `ConfigurationError`."""
    urls = (given or os.environ.get(MEDIATOR, "")).split()
    if not urls or not all(map(is_url, urls)):
        raise ConfigurationError(
            f"--mediator: {printable(' '.join(urls)) or 'none'} is not a URL of at most "
            f"{URL_LENGTH} characters; give that of a mediator that all of you reach, or set "
            f"{MEDIATOR}; `e3 mediator` runs one"
        )
    if len(urls) > MOST_OTHERS + 1:
        raise ConfigurationError(
            f"--mediator: {len(urls)} URLs; give {MOST_OTHERS + 1} at most, with a space between"
        )
    return " ".join(urls)


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
