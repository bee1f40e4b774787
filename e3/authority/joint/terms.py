"""The terms of a ceremony that makes shares: what a holder accepts, and what follows from them."""

from collections.abc import Mapping

from e3.authority.joint.channel import digest
from e3.authority.joint.ed25519 import GroupError, point
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.messages import CeremonyTerms, Envelope, Header, HolderKey, encode
from e3.authority.joint.sharing import Shares, check_shares
from e3.authority.joint.store import Held

LEAST_THRESHOLD = 2
"""With a threshold of 1 each holder would have the key."""


class DealingError(CeremonyError):
    """The terms of a ceremony, or words in it, are not acceptable to this holder."""


def context_of(terms: CeremonyTerms, hellos: Mapping[int, Envelope]) -> bytes:
    """Return the digest of a ceremony: its terms, and who entered it with what."""
    said = (number.to_bytes(2, "big") + hellos[number].body for number in sorted(hellos))
    return digest(b"shares", encode(terms), *said)


def possession_context(header: Header, nonce: bytes) -> bytes:
    """Return the context of a proof that a holder has its share of this header."""
    return digest(b"possession", encode(header), nonce)


def keys_of(terms: CeremonyTerms) -> dict[int, HolderKey]:
    """Return all who take part, by number: dealers of the epoch before, and new holders."""
    known = dict(terms.base.holders) if terms.base else {}
    return {one: known[one] for one in terms.dealers if one in known} | dict(terms.holders)


def header_of(terms: CeremonyTerms, known: Shares, saw: bytes) -> Header:
    """Return the header of shares that were made by these terms; ``saw`` digests what was said."""
    base = terms.base
    return Header(
        purpose=terms.purpose,
        epoch=terms.epoch,
        public_key=known.public_key,
        threshold=terms.threshold,
        holders=terms.holders,
        public_shares=dict(known.public_shares),
        scope=terms.scope,
        certificate=terms.certificate,
        transcript=digest(base.transcript, saw) if base else saw,
        last_number=max([*terms.holders, base.last_number if base else 0]),
        made=terms.made,
    )


def shares_in(header: Header) -> Shares:
    """Return the public side of a header's shares, its points checked."""
    if set(header.public_shares) != set(header.holders):
        raise DealingError("the public shares in a header are not those of its holders")
    try:
        return Shares(
            public_key=point(header.public_key),
            threshold=header.threshold,
            public_shares={one: point(each) for one, each in header.public_shares.items()},
        )
    except GroupError as error:
        raise DealingError(f"a header has what is no point: {error}") from None


def check_terms(terms: CeremonyTerms, me: int, held: Held | None) -> None:
    """Raise `DealingError` unless this holder accepts the terms, with the share that it has."""
    if not LEAST_THRESHOLD <= terms.threshold <= len(terms.holders):
        raise DealingError(
            f"a threshold of {terms.threshold} is not acceptable for {len(terms.holders)} holders; "
            f"it is {LEAST_THRESHOLD} or more, and as many as there are at most"
        )
    if len({each.key for each in terms.holders.values()}) != len(terms.holders):
        raise DealingError("two holders have one key")
    if len({each.name for each in terms.holders.values()}) != len(terms.holders):
        raise DealingError("two holders have one name")  # each could say which key is that host's
    if terms.base is None:
        if held is not None:
            raise DealingError(
                f"this host has a share of another key for {terms.purpose}; end that first"
            )
        if sorted(terms.dealers) != sorted(terms.holders) or terms.epoch != 1:
            raise DealingError("all holders deal where a key is made")
        return
    _check_renewal(terms, terms.base, me, held)


def _check_renewal(terms: CeremonyTerms, base: Header, me: int, held: Held | None) -> None:
    if held is None or held.header != base:  # else they were found right when they were made
        check_shares(shares_in(base))
    dealers = set(terms.dealers)
    if not dealers <= set(base.holders) or len(dealers) < base.threshold:
        raise DealingError("those who deal do not hold the key")
    if terms.epoch != base.epoch + 1 or base.purpose != terms.purpose:
        raise DealingError("the terms do not follow the epoch before")
    for number, holder in terms.holders.items():
        known = base.holders.get(number)
        if known is not None and known != holder:
            raise DealingError("a holder has another key or name than before", [number])
    if held is None:
        return
    if me in dealers and held.header != base:
        raise DealingError("the share of this host is of another epoch than the others'")
    if held.header.public_key != base.public_key or held.header.epoch > base.epoch:
        raise DealingError("this host has a share of another key, or of a later epoch")
