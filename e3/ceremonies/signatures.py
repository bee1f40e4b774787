"""Sign a batch of requests by the shares of as many holders as it takes, in two rounds."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from e3.authority.joint import requests
from e3.authority.joint.channel import digest
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.messages import (
    Archive,
    Archived,
    Done,
    Draw,
    Envelope,
    Header,
    Sign,
    Spoken,
    encode,
)
from e3.authority.joint.policy import OWN_KNOWLEDGE
from e3.authority.joint.signing import check_committed, signatures_of
from e3.ceremonies.assembly import Assembly
from e3.ceremonies.guests import Guest, ask_all, blame, said_by
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.remote.tasks import in_thread


@dataclass(frozen=True, kw_only=True)
class Signatures:
    """What came of a batch: the signatures in order, who signed, and who was left out and why."""

    signatures: Sequence[bytes]
    signers: Sequence[str]
    notes: Sequence[str]


async def sign(assembly: Assembly, header: Header, asked: Sequence[requests.Request]) -> Signatures:
    """Return a signature of each request; all are made by the same holders.

    A holder that cheats, falls silent, refuses or cannot go on is left out, and another one signs
    in its place with fresh nonces of all, as long as there are enough. Only a refusal of what one
    holder may know, and others not, ends it.
    """
    notes: list[str] = []
    excluded: set[str] = set()
    refusal: CeremonyFailedError | None = None
    while True:
        able = assembly.having(header, without=excluded)
        if len(able) < header.threshold:
            raise refusal or _too_few(assembly, header, able, notes)
        chosen = dict(sorted(able.items())[: header.threshold])
        names = {number: guest.voice.name for number, guest in chosen.items()}
        try:
            made = await _rounds(assembly, chosen, names, header, asked)
        except CeremonyFailedError as error:
            if is_final(error, asked):
                raise
            if error.verdict is CeremonyVerdict.REFUSED:
                refusal = refusal or error
            excluded |= error.guilty
            notes.append(str(error))
            if not error.guilty & set(names.values()):
                raise
        else:
            return Signatures(signatures=made, signers=sorted(names.values()), notes=notes)


def is_final(error: CeremonyFailedError, asked: Sequence[requests.Request]) -> bool:
    """Whether one holder refuses what it knows by itself; nobody is asked to overrule that."""
    kinds = [kind for rule in error.rules for kind in OWN_KNOWLEDGE.get(rule, ())]
    return any(isinstance(each, tuple(kinds)) for each in asked)


async def _rounds(
    assembly: Assembly,
    chosen: Mapping[int, Guest],
    names: Mapping[int, str],
    header: Header,
    asked: Sequence[requests.Request],
) -> list[bytes]:
    draw = Draw(
        purpose=header.purpose,
        ceremony=secrets.token_bytes(16),
        header=digest(encode(header)),
        signers=sorted(chosen),
        requests=[requests.encode(each) for each in asked],
        hellos=_hellos(assembly, header, asked),
    )
    messages = [each.to_be_signed(Point(header.public_key)) for each in asked]
    try:
        committed = said_by(await ask_all(chosen, lambda _: draw, Spoken), names)
        request = Sign(purpose=header.purpose, committed=committed)
        try:
            signed = said_by(await ask_all(chosen, lambda _: request, Spoken), names)
        except CeremonyFailedError:
            # raises what is proved, where a holder only says so
            await in_thread(check_committed, header, draw, messages, committed)
            raise
        return await in_thread(signatures_of, header, draw, messages, committed, signed)
    except CeremonyError as error:
        raise blame(error, names) from error


def _hellos(
    assembly: Assembly, header: Header, asked: Sequence[requests.Request]
) -> dict[int, Envelope]:
    """Return what holders said, by number, for whose own hosts certificates are asked."""
    if not header.scope.key_file:
        return {}
    names = {getattr(each, "name", "") for each in asked}
    return {
        number: assembly.guests[each.name].said.hello
        for number, each in header.holders.items()
        if each.name in names and each.name in assembly.guests
    }


async def archive(
    assembly: Assembly, header: Header, request: requests.Request, signature: bytes
) -> Archived:
    """Let all holders keep the authority's certificate; return it."""
    text = request.assemble(Point(header.public_key), signature)
    certificate = Archived(request=requests.encode(request), signature=signature, text=text)
    await hand_over(assembly, header, certificate)
    return certificate


async def hand_over(assembly: Assembly, header: Header, certificate: Archived) -> None:
    """Let each holder that lacks the authority's certificate keep it."""
    lacking = {
        number: guest
        for number, guest in assembly.having(header).items()
        if guest.said.certificate != certificate
    }
    asked = Archive(purpose=header.purpose, certificate=certificate)
    await ask_all(lacking, lambda _: asked, Done)


def _too_few(
    assembly: Assembly, header: Header, able: Mapping[int, Guest], notes: Sequence[str]
) -> CeremonyFailedError:
    holders = {each.name for each in header.holders.values()}
    reasons = [
        *notes,
        *(f"{name}: {why}" for name, why in assembly.absent.items() if name in holders),
        *(f"{name} has no share of this epoch" for name in assembly.behind(header)),
    ]
    why = f" ({'; '.join(reasons)})" if reasons else ""
    here = {guest.voice.name for guest in able.values()}
    return CeremonyFailedError(
        CeremonyVerdict.TOO_FEW,
        f"{len(able)} of {len(holders)} holders can sign, and it takes {header.threshold}{why}; "
        "`pulumi up` brings hosts back; if their shares are lost, the authority is made anew by "
        "`pulumi up --replace` and all certificates with it",
        sorted(holders - here),
    )
