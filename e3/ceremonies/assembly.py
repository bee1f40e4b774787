"""Who takes part in a ceremony, each with what it has."""

from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from e3.authority.joint.channel import ChannelError, check_sealing, verify
from e3.authority.joint.dealing import hello_context
from e3.authority.joint.known import check_archived
from e3.authority.joint.messages import (
    Archived,
    Commit,
    Done,
    Greet,
    Greeted,
    Header,
    Hello,
    decode,
)
from e3.authority.joint.requests import RequestError
from e3.authority.joint.terms import LEAST_THRESHOLD as LEAST
from e3.ceremonies.guests import Guest, expect
from e3.ceremonies.possession import having_proved
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.ceremonies.voices import Voice
from e3.errors import HostError
from e3.remote.tasks import each_to_its_end
from e3.remote.text import printable


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

    def newest(self, key: bytes | None = None) -> Header | None:
        """Return the header of the latest epoch that enough holders have, if one is enough.

        It is of the public ``key`` where that is known. Else, of several keys of one purpose, that
        of the latest epoch counts.
        """
        enough = [
            header
            for header in shown(self.purpose, self.guests)
            if key is None or header.public_key == key
        ]
        return max(enough, key=lambda header: header.epoch, default=None)

    def having(self, header: Header, *, without: Container[str] = ()) -> dict[int, Guest]:
        """Return those who have the shares of this header, by number, ``without`` these hosts."""
        by_name = {each.name: number for number, each in header.holders.items()}
        return {
            by_name[name]: each
            for name, each in self.guests.items()
            if each.said.header == header and name in by_name and name not in without
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
    if len(contested := shown(purpose, guests)) > 1:
        guests = await having_proved(purpose, guests, contested, gone)
    return Assembly(purpose=purpose, guests=guests, absent=gone)


def shown(purpose: str, guests: Mapping[str, Guest]) -> list[Header]:
    """Return each header of this purpose that as many show as its threshold."""
    found = [each.said.header for each in guests.values() if each.said.header]
    headers = [each for each in found if each.purpose == purpose]
    distinct: list[Header] = []
    for one in headers:
        if one not in distinct and headers.count(one) >= max(one.threshold, LEAST):
            distinct.append(one)
    return distinct


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
