"""Shamir shares of a key that no one holds, made by all holders and checked by each.

Feldman's verifiable secret sharing (FOCS 1987): a dealer shares a secret by a polynomial, publishes
its coefficients times the base point, and sends each receiver the value at its identifier, which
the receiver checks. If every holder deals a secret of its own, the sum of all is a key that no one
knows (Pedersen, EUROCRYPT 1991; each dealer proves that it knows what it deals, as in figure 1 of
Komlo and Goldberg, FROST, SAC 2020). If ``threshold`` holders deal what their share contributes to
the key (`contribution`), the sum is the same key in new shares.

What a dealer publishes has to reach every receiver alike: callers compare digests of all of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from e3.authority.joint.ed25519 import (
    ZERO,
    GroupError,
    Point,
    Scalar,
    base_times,
    hash_to_scalar,
    interpolation,
    plus,
    point_times,
    points_plus,
    random_scalar,
    scalar_of,
    times,
)
from e3.authority.joint.errors import CeremonyError

PROOF_CONTEXT = b"E3-DEALER-PROOF-v1"


class SharingError(CeremonyError):
    """Shares of a key cannot be made."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Schnorr's proof that a dealer knows the secret that it deals."""

    commitment: Point
    response: Scalar


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a dealer tells everybody: its polynomial in the exponent, of ``threshold`` points."""

    dealer: int
    coefficients: tuple[Point, ...]
    proof: Proof

    def value(self, identifier: int) -> Point:
        """Return the value dealt to ``identifier``, times the base point."""
        return _value(self.coefficients, identifier)


@dataclass(frozen=True, kw_only=True)
class Dealing:
    """What a dealer made: what it publishes, and the secret value for each receiver alone."""

    published: Published
    values: Mapping[int, Scalar] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The public side of a key in shares: the key, and each holder's share times the base point."""

    public_key: Point
    threshold: int
    public_shares: Mapping[int, Point]


def deal(
    dealer: int, secret: Scalar, threshold: int, receivers: Sequence[int], context: bytes
) -> Dealing:
    """Share ``secret`` among ``receivers``, any ``threshold`` of whom determine it.

    ``context`` is the ceremony: proofs of one are worth nothing in another.
    """
    _check_terms(threshold, receivers)
    coefficients = [secret, *(random_scalar() for _ in range(threshold - 1))]
    published = tuple(base_times(one) for one in coefficients)
    nonce = random_scalar()
    commitment = base_times(nonce)
    challenge = _challenge(dealer, context, published, commitment)
    proof = Proof(commitment=commitment, response=plus(nonce, times(challenge, secret)))
    return Dealing(
        published=Published(dealer=dealer, coefficients=published, proof=proof),
        values={one: _evaluate(coefficients, one) for one in receivers},
    )


def check_published(
    published: Published, threshold: int, context: bytes, contribution: Point | None = None
) -> None:
    """Raise `SharingError`, with the dealer as culprit, unless this can be dealt.

    ``contribution`` is what the dealer has to deal, times the base point, where a key is renewed.
    """
    dealer, proof = published.dealer, published.proof
    if len(published.coefficients) != threshold:
        raise SharingError("a dealer shares with another threshold", [dealer])
    challenge = _challenge(dealer, context, published.coefficients, proof.commitment)
    secret = published.coefficients[0]
    if base_times(proof.response) != points_plus(
        (proof.commitment, point_times(challenge, secret))
    ):
        raise SharingError("a dealer does not know what it deals", [dealer])
    if contribution is not None and secret != contribution:
        raise SharingError("a dealer deals something else than its share", [dealer])


def receive(
    identifier: int,
    published: Sequence[Published],
    values: Mapping[int, Scalar],
    known: Shares | None = None,
) -> Scalar:
    """Return the share that the values of all dealers make; name each dealer whose value is wrong.

    ``values`` are by dealer; what each of them published has been checked. A wrong sum is looked
    into; values whose errors cancel out make the right share. ``known`` is `shares_of` what was
    published, where the caller has it.
    """
    if {one.dealer for one in published} == set(values):
        share = plus(*(values[one.dealer] for one in published))
        total = known or shares_of(published, [identifier])
        if base_times(share) == total.public_shares[identifier]:
            return share
    wrong = [
        one.dealer
        for one in published
        if one.dealer not in values or base_times(values[one.dealer]) != one.value(identifier)
    ]
    if wrong:
        raise SharingError("a dealer sent a value that it did not publish", wrong)
    return plus(*(values[one.dealer] for one in published))


def shares_of(published: Sequence[Published], receivers: Sequence[int]) -> Shares:
    """Return the public side of what all dealers have dealt.

    All public shares lie on one polynomial, the sum of all that were published.
    """
    total = _sum(published)
    return Shares(
        public_key=total[0],
        threshold=len(total),
        public_shares={receiver: _value(total, receiver) for receiver in receivers},
    )


def checked_shares(published: Sequence[Published], claimed: Mapping[int, Point]) -> Shares:
    """Return the public side of what was dealt, with the public shares that somebody ``claimed``.

    Raises `SharingError` unless they are those of `shares_of`. Random weights, of which nobody
    knows before, make one equation of all: a wrong share passes it with a chance of 2**-252.
    """
    total = _sum(published)
    weights = {one: random_scalar() for one in claimed}
    found = points_plus(point_times(weights[one], each) for one, each in claimed.items())
    factors = (
        plus(*(times(weights[one], scalar_of(one**power)) for one in claimed))
        for power in range(len(total))
    )
    if found != points_plus(map(point_times, factors, total)):
        raise SharingError("the public shares are not those of what was dealt")
    return Shares(public_key=total[0], threshold=len(total), public_shares=dict(claimed))


def contribution(identifier: int, dealers: Sequence[int], share: Scalar) -> Scalar:
    """Return what a holder deals, so that all ``dealers`` together deal the same key anew."""
    return times(interpolation(identifier, dealers), share)


def public_contribution(identifier: int, dealers: Sequence[int], known: Shares) -> Point:
    """Return `contribution` times the base point, from the public side of the old shares."""
    return point_times(interpolation(identifier, dealers), known.public_shares[identifier])


def check_shares(known: Shares) -> None:
    """Raise `SharingError` unless all public shares are those of one key with that threshold."""
    _check_terms(known.threshold, sorted(known.public_shares))
    holders = sorted(known.public_shares)
    basis = holders[: known.threshold]
    for at in (0, *holders[known.threshold :]):
        expected = known.public_key if at == 0 else known.public_shares[at]
        value = points_plus(
            point_times(interpolation(one, basis, at), known.public_shares[one]) for one in basis
        )
        if value != expected:
            raise SharingError("the public shares are not those of one key")


def _check_terms(threshold: int, holders: Sequence[int]) -> None:
    if len(set(holders)) != len(holders) or not all(0 < one < 2**16 for one in holders):
        raise GroupError("identifiers of holders are different whole numbers from 1 to 65535")
    if not 0 < threshold <= len(holders):
        raise GroupError(f"a threshold of {threshold} does not fit {len(holders)} holders")


def _sum(published: Sequence[Published]) -> list[Point]:
    """Return the sum of all polynomials, which has the key as its first coefficient."""
    return [
        points_plus(column) for column in zip(*(x.coefficients for x in published), strict=True)
    ]


def _value(coefficients: Sequence[Point], at: int) -> Point:
    """Return a polynomial's value times the base point, from its coefficients in the exponent."""
    powers = (scalar_of(at**power) for power in range(len(coefficients)))
    return points_plus(map(point_times, powers, coefficients))


def _evaluate(coefficients: Sequence[Scalar], at: int) -> Scalar:
    value = ZERO
    for coefficient in reversed(coefficients):
        value = plus(times(value, scalar_of(at)), coefficient)
    return value


def _challenge(
    dealer: int, context: bytes, coefficients: Sequence[Point], commitment: Point
) -> Scalar:
    """Return the challenge of a proof; each part has a length of its own, so parts cannot shift."""
    head = len(context).to_bytes(8, "big") + context + scalar_of(dealer)
    return hash_to_scalar(PROOF_CONTEXT, head, *coefficients, commitment)
