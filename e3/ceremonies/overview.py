"""What there is of a joint authority: who holds which share, and what it agreed to sign."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from e3.authority.joint.messages import Header
from e3.ceremonies.assembly import Assembly
from e3.ceremonies.kinds import KINDS

State = Literal["current", "old", "none", "absent"]
"""Of a holder's share: of the present epoch, of an earlier one, there is none, or no answer."""


@dataclass(frozen=True, kw_only=True)
class HolderState:
    """A holder: its host, its number, its share, and how that is stored.

    ``transcript`` is the digest of all that it saw while shares were made, in hexadecimal: it is
    the same for all, unless somebody changed what was passed on.
    """

    name: str
    number: int | None
    share: State
    epoch: int | None
    transcript: str
    stored: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AuthorityState:
    """A joint authority: its newest header, its holders, and the text of its certificate.

    One without a certificate has its key instead, as those write it who use it.
    """

    purpose: str
    header: Header | None
    holders: Sequence[HolderState]
    certificate: str

    @property
    def able(self) -> bool:
        """Whether enough holders are there to sign."""
        current = sum(each.share == "current" for each in self.holders)
        return self.header is not None and current >= self.header.threshold


def overview(assembly: Assembly, key: bytes | None = None) -> AuthorityState:
    """Return the state of an authority whose holders have entered; ``key`` is its public one."""
    header = assembly.newest(key)
    numbers = {each.name: number for number, each in header.holders.items()} if header else {}
    certificate = assembly.certificate(header) if header else None
    names = sorted({*numbers, *assembly.guests, *assembly.absent})
    return AuthorityState(
        purpose=assembly.purpose,
        header=header,
        holders=[_holder(assembly, name, header, numbers.get(name)) for name in names],
        certificate=certificate.text if certificate else _text(header),
    )


def _text(header: Header | None) -> str:
    """Return what an authority without a certificate of its own is known by."""
    kind = KINDS[header.purpose] if header else None
    return kind.text(header.public_key) if header and kind and kind.request is None else ""


def _holder(
    assembly: Assembly, name: str, header: Header | None, number: int | None
) -> HolderState:
    guest = assembly.guests.get(name)
    own = guest.said.header if guest else None
    share: State = "none" if guest else "absent"
    if own is not None:
        share = "current" if own == header else "old"
    return HolderState(
        name=name,
        number=number,
        share=share,
        epoch=own.epoch if own else None,
        transcript=own.transcript.hex() if own else "",
        stored=guest.said.sealed if guest else "",
        reason=assembly.absent.get(name, ""),
    )
