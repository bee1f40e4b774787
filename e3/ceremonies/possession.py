"""Who has the share that it shows: asked where holders show different ones."""

import secrets
from collections.abc import Mapping

from e3.authority.joint.ed25519 import GroupError, Point, scalar
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.messages import Header, Prove, Proved
from e3.authority.joint.sharing import (
    Proof,
    Shares,
    SharingError,
    check_possession,
    check_shares,
)
from e3.authority.joint.terms import possession_context, shares_in
from e3.ceremonies.guests import Guest, expect
from e3.ceremonies.verdicts import CeremonyFailedError
from e3.errors import HostError
from e3.remote.tasks import each_to_its_end


async def having_proved(
    purpose: str, guests: Mapping[str, Guest], contested: list[Header], absent: dict[str, str]
) -> dict[str, Guest]:
    """Return the guests without those who show a share that they do not prove to have.

    Where holders show different shares, two could make up a later epoch of two holders, and keep
    the others from signing. But the shares of a header determine its key: as many as its threshold
    cannot prove them all, unless they have it.
    """
    kept: dict[str, Guest] = {}
    nonce = secrets.token_bytes(32)
    sides = [(header, _public_side(header)) for header in contested]

    async def one(name: str, guest: Guest) -> None:
        known = next((known for header, known in sides if header == guest.said.header), None)
        if guest.said.header is None or guest.said.header not in contested:
            kept[name] = guest
            return
        try:
            said = expect(name, await guest.voice.ask(Prove(purpose=purpose, nonce=nonce)), Proved)
            _check_possession(name, guest.said.header, known, said, nonce)
        except (HostError, TimeoutError, CeremonyFailedError) as error:
            absent[name] = str(error)
        except CeremonyError as error:
            absent[name] = f"shows a share that it does not prove to have: {error}"
        else:
            kept[name] = guest

    await each_to_its_end(one(name, guest) for name, guest in guests.items())
    return {name: kept[name] for name in guests if name in kept}


def _public_side(header: Header) -> Shares | None:
    """Return the public side of a header's shares; None unless they determine its key."""
    try:
        known = shares_in(header)
        check_shares(known)
    except (CeremonyError, GroupError):
        return None
    return known


def _check_possession(
    name: str, header: Header, known: Shares | None, said: Proved, nonce: bytes
) -> None:
    numbers = [number for number, each in header.holders.items() if each.name == name]
    if known is None or len(numbers) != 1:
        raise SharingError("the shares are not those of one key, or it is none of their holders")
    try:
        proof = Proof(commitment=Point(said.commitment), response=scalar(said.response))
    except GroupError as error:
        raise SharingError(str(error)) from None
    check_possession(numbers[0], known, proof, possession_context(header, nonce))
