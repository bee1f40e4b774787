"""The person at the terminal: is shown what others propose, and consents or does not."""

import asyncio
import contextlib
import os
import pydoc
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TextIO, cast

from rich.console import Console

from e3.adhoc.people import People, words
from e3.adhoc.programs import sources
from e3.cli.terminal import plain
from e3.didcomm.session.bodies import LobbyView, Member, Proposal, Roster
from e3.didcomm.session.invitation import Invitation
from e3.errors import ConfigurationError
from e3.remote.tasks import in_thread
from e3.remote.text import printable, printable_lines
from e3.session.results import SessionResult
from e3.session.verdicts import Verdict

YES = {"y", "yes", "j", "ja"}
MOST_SHOWN = 1_000_000
"""More than all arguments of a proposal have: none may be cut where a user consents to them."""

NOTE_LENGTH = 1000


class Terminal:
    """An `e3.adhoc.flows.Person` at a terminal."""

    def __init__(
        self,
        console: Console,
        people: People,
        own: str,
        *,
        yes: bool,
        conclude: Callable[[SessionResult], None] = lambda _: None,
    ) -> None:
        """Speak on ``console``; ``own`` is the user's DID. ``yes`` consents to known people.

        ``conclude`` shows a result.
        """
        self._conclude = conclude
        self._paging = False
        self._held: list[tuple[str, str]] = []
        """What is shown once the user has read the program."""
        self._console = console
        self._people = people
        self._own = own
        self._yes = yes
        self._shown = ""

    def invited(self, link: str, invitation: Invitation, proposal: Proposal) -> None:
        """See `Person`."""
        self._say(f"{proposal.parties} parties; {secrecy(proposal.threshold)}")
        minutes = (invitation.expires - invitation.created) / 60
        others = invitation.parties - 1
        self._say(
            f"{others} other{'s' if others > 1 else ''} can join within {minutes:.0f} minutes, "
            "each by typing:",
            "bold",
        )
        self._console.print(plain(f"  e3 join {shlex.quote(link)}"))
        self._draw(link)

    def show(self, view: LobbyView) -> None:
        """See `User`."""
        there = ", ".join(
            f"{self.recognised(each.name, each.identity)}{'' if each.ready else ' (reading)'}"
            for each in view.present
        )
        text = f"{len(view.present)} of {view.parties} are here: {there}"
        if text != self._shown:
            self._shown = text
            self._say(text)

    def tell(self, text: str) -> None:
        """See `User`."""
        self._say(text)

    async def consents_to(self, proposal: Proposal, invitation: Invitation) -> bool:
        """See `Person`."""
        who = self.recognised(invitation.name, invitation.identity)
        self._say(f"{who} invites you to compute {printable(proposal.name)}", "bold")
        self._explain(proposal)
        if self._knows([invitation.identity]) and self._yes:
            return True
        while True:
            answer = await self._answer("take part? [y]es, [n]o, [s]how the program: ")
            if answer.startswith("s"):
                await self._page(printable_lines(sources(proposal)))
            else:
                return answer in YES

    async def consents(self, roster: Roster) -> bool:
        """See `User`."""
        self._say("all parties are here:", "bold")
        for each in roster.members:
            self._say(f"  party {each.pid}: {self._described(each)}")
        if self._knows([each.identity for each in roster.members]) and self._yes:
            return True
        return await self._answer("compute with them? [y]es, [n]o: ") in YES

    def concluded(self, result: SessionResult) -> None:
        """See `Person`."""
        self._conclude(result)

    async def wants_another(self, result: SessionResult) -> bool:
        """See `Person`."""
        if self._yes:
            return result.verdict is Verdict.COMPLETED
        if not is_at_terminal():
            return False
        question = "another round with the same people? [Enter] for yes, [n]o: "
        return await self._answer(question) in {"", *YES}

    async def _page(self, text: str) -> None:
        """Show a long text, while messages come and go; what they say is shown afterwards."""
        self._paging = True
        try:
            await in_thread(pydoc.pager, text)
        finally:
            self._paging = False
            for each in self._held:
                self._say(*each)
            self._held.clear()

    def recognised(self, name: str, identity: str) -> str:
        """Return who somebody is: the name that the user gave, else the one they give."""
        if identity == self._own:
            return "you"
        known = self._people.known().get(identity)
        if known is not None:
            return printable(known)
        return f"{printable(name, 64)} (unknown)"

    def _described(self, member: Member) -> str:
        who = self.recognised(member.name, member.identity)
        if member.identity == self._own or self._knows([member.identity]):
            return who
        proven = (
            f"proven as {printable(member.identity, 100)}"
            if member.identity.startswith("did:web:")
            else f"ask them for these words: {words(member.identity)}"
        )
        return f"{who}; {proven}"

    def _explain(self, proposal: Proposal) -> None:
        size = sum(len(each.content) * 3 // 4 for each in proposal.files)
        self._say(f"  program   {printable(proposal.entry)}, {size / 1000:.1f} kB in all")
        self._say(f"  digest    {proposal.digest}")
        if proposal.args:
            self._say(f"  arguments {printable(shlex.join(proposal.args), MOST_SHOWN)}")
        if proposal.note:
            self._say(f"  they say  {printable(proposal.note, NOTE_LENGTH)}")
        self._say(f"  parties   {proposal.parties}; {secrecy(proposal.threshold)}")
        for each in proposal.requires:
            what = printable(f"{each.claim}={each.value}")
            self._say(f"  required  of every party: {what} by {printable(each.issuer, 100)}")
        if proposal.rounds > 1:
            self._say(f"  rounds    up to {proposal.rounds}, each if all want it")
        self._say("  learned   by everybody: what the program reveals; read it to know what")
        self._say("  limits    it reaches the parties alone, and no file of this machine")

    def _knows(self, identities: Sequence[str]) -> bool:
        known = self._people.known()
        return all(each == self._own or each in known for each in identities)

    async def _answer(self, question: str) -> str:
        if not is_at_terminal():
            raise ConfigurationError(
                "consent needs a terminal, or --yes for people whom you know (`e3 id --know`)"
            )
        forget_typed()
        self._console.print(plain(question, "bold"), end="")
        return (await typed_line()).strip().casefold()

    def _draw(self, link: str) -> None:
        if not self._console.is_terminal:
            return
        import segno  # noqa: PLC0415 - for this alone

        code = segno.make(link, error="l", micro=False)
        width, _ = code.symbol_size()
        if width > self._console.width:
            self._say(f"a terminal of {width} columns also shows the link as a QR code")
            return
        code.terminal(out=cast("TextIO", self._console.file), compact=True)

    def _say(self, text: str, style: str = "") -> None:
        if self._paging:
            self._held.append((text, style))
        else:
            self._console.print(plain(text, style))


def secrecy(threshold: int) -> str:
    """Return what the threshold means for the inputs."""
    if threshold == 0:
        return "NOTHING is secret: each of them alone can find out all inputs"
    alone = "each of them alone learns nothing more than the result"
    if threshold == 1:
        return f"{alone}; two that put together what they saw find out all inputs"
    return f"{alone}, nor do {threshold}; {threshold + 1} together find out all inputs"


def is_at_terminal() -> bool:
    """Return whether somebody can be asked."""
    return bool(sys.stdin) and sys.stdin.isatty()


def forget_typed() -> None:
    """Drop what was typed at the terminal before a question: it does not answer that one."""
    with contextlib.suppress(ImportError):  # a system without it
        import termios  # noqa: PLC0415 - for this alone

        with contextlib.suppress(termios.error):
            termios.tcflush(sys.stdin, termios.TCIFLUSH)


async def typed_line() -> str:
    """Return the next line that is typed, without stopping everything else meanwhile."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    descriptor = sys.stdin.fileno()

    def typed() -> None:
        if not ready.done():
            ready.set_result(None)

    try:
        loop.add_reader(descriptor, typed)
    except NotImplementedError:  # Windows
        return await in_thread(sys.stdin.readline)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, 4096).decode(errors="replace")
