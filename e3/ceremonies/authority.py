"""The joint authority of a stack for one purpose: made, and kept up with its hosts."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from e3.authority.joint import requests
from e3.authority.joint.messages import Archived, Forget, Header
from e3.authority.joint.policy import Scope
from e3.ceremonies.assembly import Assembly, assemble
from e3.ceremonies.making import make_key, renew_key
from e3.ceremonies.record import CeremonyRecord, recorded
from e3.ceremonies.signatures import archive, hand_over, sign
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.ceremonies.voices import attached
from e3.errors import HostError
from e3.interfaces import Host

DAY_SECONDS = 86_400
NEVER = 253_402_300_799
"""The end of the year 9999 as a Unix time."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a joint authority is to be: who holds it, how many sign, and what they agree to sign.

    ``request`` makes the request for the authority's own certificate, if it needs one.
    """

    purpose: str
    threshold: int
    holders: Sequence[str]
    scope: Scope
    refresh_seconds: float
    request: Callable[[], requests.Request] | None = None


@dataclass(frozen=True, kw_only=True)
class Established:
    """A joint authority that is there: its shares' public side, and its own certificate if any."""

    header: Header
    certificate: Archived | None

    @property
    def not_after(self) -> int:
        """When the certificate ends, as a Unix time; without one, when no time is left."""
        if self.certificate is None:
            return NEVER
        return requests.decode(self.certificate.request).not_after


@asynccontextmanager
async def ceremony(
    folder: Path, purpose: str, kind: str, hosts: Sequence[Host]
) -> AsyncIterator[tuple[Assembly, CeremonyRecord]]:
    """Yield all holders on these hosts who can be reached, and the record of what they do."""
    async with recorded(folder, purpose, kind) as record, attached(hosts) as (voices, absent):
        record.voices = voices
        record.step("attached")
        assembly = await assemble(purpose, voices, absent)
        record.step("entered")
        yield assembly, record


async def establish(
    folder: Path, wanted: Wanted, hosts: Sequence[Host], known: bytes | None
) -> Established:
    """Make the authority what is ``wanted``: a new key, or new shares of the one there is.

    ``hosts`` are all that hold it, or are to hold it. ``known`` is the public key that it had; it
    never changes. Raises `CeremonyFailedError`.
    """
    async with ceremony(folder, wanted.purpose, "establish", hosts) as (entered, record):
        assembly = entered
        header = current(assembly, known)
        if header is None:
            header = await _make(assembly, wanted)
            record.step("key")
            assembly = await assembly.anew()
        elif _differs(assembly, header, wanted):
            header = await renew_key(
                assembly, header, wanted.holders, wanted.threshold, wanted.scope, notes=record.notes
            )
            record.step("renewed")
            assembly = await assembly.anew()
            record.notes += await _dismiss(entered, header)
        record.of(header)
        certificate = await _certify(assembly, header, wanted)
        record.step("certified")
        return Established(header=header, certificate=certificate)


def current(assembly: Assembly, known: bytes | None) -> Header | None:
    """Return the header of the shares there are; raise if the known key has too few left."""
    header = assembly.newest(known)
    if known is None or header is not None:
        return header
    raise CeremonyFailedError(
        CeremonyVerdict.TOO_FEW,
        f"fewer hosts than the threshold still have shares of the key for {assembly.purpose}, so "
        "nothing can be signed with it any more; `pulumi up --replace '**Joint**'` makes a new "
        "authority, and all certificates anew",
        sorted(assembly.absent),
    )


async def _make(assembly: Assembly, wanted: Wanted) -> Header:
    missing = sorted(set(wanted.holders) - set(assembly.guests))
    if missing:
        raise CeremonyFailedError(
            CeremonyVerdict.ABSENT,
            f"{missing[0]} cannot hold a share: {assembly.absent.get(missing[0], 'it is gone')}",
            missing,
        )
    # of a ceremony that was interrupted before enough holders used their shares
    half_made = [each for each in assembly.guests.values() if each.said.header]
    for guest in half_made:
        await guest.voice.ask(Forget(purpose=wanted.purpose))
    guests = {name: assembly.guests[name] for name in wanted.holders}
    chosen = Assembly(purpose=assembly.purpose, guests=guests)
    if half_made:
        chosen = await chosen.anew()
    return await make_key(chosen, wanted.threshold, wanted.scope)


def _differs(assembly: Assembly, header: Header, wanted: Wanted) -> bool:
    """Return whether new shares have to be made."""
    return (
        sorted(each.name for each in header.holders.values()) != sorted(wanted.holders)
        or header.threshold != wanted.threshold
        or header.scope != wanted.scope
        or len(assembly.having(header)) != len(header.holders)
        or time.time() > header.made + wanted.refresh_seconds
    )


async def _dismiss(assembly: Assembly, header: Header) -> list[str]:
    """Let those who hold the key no longer remove their shares; return who could not be asked."""
    staying = {each.name for each in header.holders.values()}
    notes = []
    for name, guest in assembly.guests.items():
        if name not in staying:
            try:
                await guest.voice.ask(Forget(purpose=header.purpose))
            except (HostError, TimeoutError) as error:
                notes.append(f"{name} keeps a share of an old epoch: {error}")
    return notes


async def _certify(assembly: Assembly, header: Header, wanted: Wanted) -> Archived | None:
    """Return the authority's own certificate, which is signed once; all holders keep it."""
    if wanted.request is None:
        return None
    known = assembly.certificate(header)
    if known is not None:
        await hand_over(assembly, header, known)
        return known
    request = wanted.request()
    made = await sign(assembly, header, [request])
    return await archive(assembly, header, request, made.signatures[0])
