"""Who takes part in a ceremony, each with what it has, and how all are asked one thing at once."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from e3.authority.joint.channel import ChannelError, check_sealing, verify
from e3.authority.joint.dealing import hello_context
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.known import check_archived
from e3.authority.joint.messages import (
    Answer,
    Archived,
    Ask,
    Commit,
    Complained,
    Done,
    Envelope,
    Failed,
    Greet,
    Greeted,
    Header,
    Hello,
    Refused,
    Spoken,
    decode,
)
from e3.authority.joint.requests import RequestError
from e3.authority.joint.terms import LEAST_THRESHOLD as LEAST
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.ceremonies.voices import Voice
from e3.errors import HostError
from e3.remote.tasks import each_to_its_end
from e3.remote.text import printable

A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A holder that has entered: how to ask it, what it said, and its hello."""

    voice: Voice
    said: Greeted
    hello: Hello


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """The hosts that have entered a ceremony of one purpose, and why others have not, by name."""

    purpose: str
    guests: Mapping[str, Guest]
    absent: Mapping[str, str] = field(default_factory=dict)

    async def anew(self) -> "Assembly":
        """Return those who can still be heard, who have entered again."""
        voices = {name: each.voice for name, each in self.guests.items()}
        return await assemble(self.purpose, voices, self.absent)

    @property
    def newest(self) -> Header | None:
        """The header of the latest epoch that enough holders have; None if none is enough.

        Of several keys of one purpose, that of the latest epoch counts.
        """
        shown = [each.said.header for each in self.guests.values() if each.said.header]
        headers = [each for each in shown if each.purpose == self.purpose]
        enough = [one for one in headers if headers.count(one) >= max(one.threshold, LEAST)]
        return max(enough, key=lambda header: header.epoch, default=None)

    def having(self, header: Header) -> dict[int, Guest]:
        """Return those who have the shares of this header, by number."""
        by_name = {each.name: number for number, each in header.holders.items()}
        return {
            by_name[name]: each
            for name, each in self.guests.items()
            if each.said.header == header and name in by_name
        }

    def certificate(self, header: Header) -> Archived | None:
        """Return the authority's own certificate, as any who have these shares keep it.

        What the key has not signed is nobody's certificate, whoever shows it.
        """
        for each in self.having(header).values():
            kept = each.said.certificate
            if kept is not None:
                with suppress(RequestError):
                    check_archived(header, kept)
                    return kept
        return None

    def behind(self, header: Header) -> list[str]:
        """Return which holders of a header are here, and have no share of it."""
        names = {each.name for each in header.holders.values()}
        return sorted(
            name
            for name, each in self.guests.items()
            if name in names and each.said.header != header
        )


async def assemble(
    purpose: str, voices: Mapping[str, Voice], absent: Mapping[str, str]
) -> Assembly:
    """Let all enter; finish for each host what an interrupted ceremony has left unfinished."""
    gone = dict(absent)
    guests = await _greet(purpose, voices, gone)
    if await _finish(purpose, guests):
        guests = await _greet(purpose, {name: voices[name] for name in guests}, gone)
    return Assembly(purpose=purpose, guests=guests, absent=gone)


async def _greet(
    purpose: str, voices: Mapping[str, Voice], absent: dict[str, str]
) -> dict[str, Guest]:
    guests: dict[str, Guest] = {}

    async def one(name: str, voice: Voice) -> None:
        try:
            said = expect(name, await voice.ask(Greet(purpose=purpose)), Greeted)
            hello = _hello(purpose, said)
        except (HostError, TimeoutError, CeremonyFailedError) as error:
            absent[name] = str(error)
        else:
            guests[name] = Guest(voice=voice, said=said, hello=hello)

    await each_to_its_end(one(name, voice) for name, voice in voices.items())
    return {name: guests[name] for name in voices if name in guests}


def _hello(purpose: str, said: Greeted) -> Hello:
    """Return a hello, which is signed by the key that it has."""
    try:
        key = decode(said.hello.body, Hello).key
        hello = verify(said.hello, key, hello_context(purpose), Hello)
        check_sealing(hello.sealing)
    except (msgspec.MsgspecError, ChannelError) as error:
        raise CeremonyFailedError(
            CeremonyVerdict.CHEATED, f"says hello with another's key: {printable(error, 100)}"
        ) from None
    return hello


async def _finish(purpose: str, guests: Mapping[str, Guest]) -> bool:
    """Let a holder that has only prepared its share use it, if another one uses its own."""
    finished = False
    for guest in guests.values():
        pending = guest.said.pending
        if pending is None:
            continue
        for other in guests.values():
            if other.said.header == pending and other.said.prepared:
                asked = Commit(purpose=purpose, prepared=other.said.prepared)
                with suppress(HostError, TimeoutError):  # who has ended cannot be greeted again
                    finished |= isinstance(await guest.voice.ask(asked), Done)
    return finished


async def ask_all(
    guests: Mapping[int, Guest],
    request: Callable[[int], Ask],
    kind: type[A] | tuple[type[A], ...],
) -> dict[int, A]:
    """Ask each its request at once; return the answers by number, or raise the first failure.

    What proves most comes first: a cheat before a refusal, that before a silence.
    """
    failures: list[CeremonyFailedError] = []
    answers: dict[int, A] = {}
    names = {number: guest.voice.name for number, guest in guests.items()}

    async def one(number: int, guest: Guest) -> None:
        name = guest.voice.name
        try:
            answers[number] = expect(name, await guest.voice.ask(request(number)), kind, names)
        except CeremonyFailedError as error:
            failures.append(error)
        except (HostError, TimeoutError) as error:
            failures.append(CeremonyFailedError(CeremonyVerdict.SILENT, str(error), [name]))

    await each_to_its_end(one(number, guest) for number, guest in guests.items())
    if failures:
        order = list(CeremonyVerdict)
        first = (CeremonyVerdict.CHEATED, CeremonyVerdict.DISPUTED)
        raise min(failures, key=lambda one: (one.verdict not in first, -order.index(one.verdict)))
    return dict(sorted(answers.items()))


def said_by(answers: Mapping[int, Spoken], names: Mapping[int, str]) -> list[Envelope]:
    """Return what each said to all; raise `CeremonyFailedError` if one speaks as another."""
    for number, answer in answers.items():
        if answer.envelope.sender != number:
            name = names[number]
            raise CeremonyFailedError(
                CeremonyVerdict.CHEATED, f"{name} speaks in the name of another holder", [name]
            )
    return [answer.envelope for answer in answers.values()]


def expect(
    name: str,
    said: Answer,
    kind: type[A] | tuple[type[A], ...],
    names: Mapping[int, str] | None = None,
) -> A:
    """Return an answer of this kind; raise `CeremonyFailedError` for any other."""
    if isinstance(said, kind):
        return said
    known = names or {}
    match said:
        case Refused():
            raise CeremonyFailedError(
                CeremonyVerdict.REFUSED,
                f"{name} refuses ({said.rule}): {printable(said.reason)}",
                [name],
            )
        case Complained():
            accused = known.get(said.dealer, f"holder {said.dealer}")
            raise CeremonyFailedError(
                CeremonyVerdict.DISPUTED,
                f"{name} accuses {accused}: {printable(said.reason)}",
                [name, accused],
                accuser=name,
            )
        case Failed(culprits=[]):
            raise CeremonyFailedError(
                CeremonyVerdict.FAILED, f"{name}: {printable(said.reason)}", [name]
            )
        case Failed():
            culprits = [known.get(one, f"holder {one}") for one in said.culprits]
            raise CeremonyFailedError(
                CeremonyVerdict.DISPUTED,
                f"{name} accuses {', '.join(culprits)}: {printable(said.reason)}",
                [name, *culprits],
                accuser=name,
            )
    raise CeremonyFailedError(CeremonyVerdict.FAILED, f"{name} answers something else", [name])


def blame(error: CeremonyError, names: Mapping[int, str]) -> CeremonyFailedError:
    """Return an error of our own checks with the names of those whose words are wrong."""
    culprits = [names.get(one, f"holder {one}") for one in error.culprits]
    verdict = CeremonyVerdict.CHEATED if culprits else CeremonyVerdict.FAILED
    who = f"{', '.join(culprits)}: " if culprits else ""
    return CeremonyFailedError(verdict, f"{who}{printable(error)}", culprits)
