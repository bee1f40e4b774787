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

import msgspec

from e3.authority.joint.ed25519 import (
    IDENTITY,
    ORDER,
    ZERO,
    GroupError,
    Point,
    Scalar,
    base_times,
    checked_times,
    hash_to_scalar,
    interpolation,
    plus,
    point,
    point_times,
    points_plus,
    random_scalar,
    scalar_of,
    times,
)
from e3.authority.joint.errors import CeremonyError

PROOF_CONTEXT = b"E3-DEALER-PROOF-v1"


NOT_DEALT = "the public shares are not those of what was dealt"


class SharingError(CeremonyError):
    """Shares of a key cannot be made."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Schnorr's proof that somebody knows a secret: a dealer what it deals, a holder its share."""

    commitment: Point
    response: Scalar


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What a dealer tells everybody: its polynomial in the exponent, of ``threshold`` points.

    Another dealer's points are checked by `checked_total`.
    """

    dealer: int
    coefficients: tuple[Point, ...]
    proof: Proof

    def value(self, identifier: int) -> Point:
        """Return the value dealt to ``identifier``, times the base point."""
        return _value(self.coefficients, identifier)


class Dealing:
    """What a dealer made: what it publishes, and the secret value for each receiver alone."""

    def __init__(self, published: Published, values: dict[int, Scalar]) -> None:
        """Keep both."""
        self.published = published
        self.values = values


class Shares(msgspec.Struct, frozen=True, kw_only=True):
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
    proof = _prove(dealer, context, published, secret)
    return Dealing(
        Published(dealer=dealer, coefficients=published, proof=proof),
        {one: _evaluate(coefficients, one) for one in receivers},
    )


def check_published(published: Published, threshold: int, context: bytes) -> None:
    """Raise `SharingError`, with the dealer as culprit, unless this can be dealt.

    Of the coefficients, the secret's alone is checked to be a point. `checked_total` has the rest;
    receivers need them only to find who dealt a wrong value.
    """
    dealer = published.dealer
    if len(published.coefficients) != threshold:
        raise SharingError("a dealer shares with another threshold", [dealer])
    if not _proves(dealer, context, published.coefficients, published.proof):
        raise SharingError("a dealer does not know what it deals", [dealer])


def checked_key(
    published: Sequence[Published], threshold: int, context: bytes, key: Point | None = None
) -> Point:
    """Return the key that was dealt: the sum of all secrets, times the base point.

    ``key`` is the one that is dealt anew, if it is. Raises `SharingError`; if it names no culprit,
    `accuse` finds one.
    """
    for one in published:
        check_published(one, threshold, context)
    try:
        made = point(points_plus(one.coefficients[0] for one in published))
    except GroupError as error:
        raise SharingError(f"what was dealt is no key: {error}") from None
    if key is not None and made != key:
        raise SharingError("what was dealt is another key")
    return made


def checked_total(published: Sequence[Published]) -> list[Point]:
    """Return the sum of all polynomials, which has the key as its first coefficient.

    The sum alone is checked, which takes a fraction of the time: what cancels out in it harms
    nobody. Raises as `checked_key` does.
    """
    try:
        return [point(each) for each in total_of(published)]
    except GroupError as error:
        raise SharingError(f"what was dealt is no polynomial: {error}") from None


def accuse(published: Sequence[Published], known: Shares | None) -> None:
    """Raise `SharingError` that names a dealer who made the sum of all wrong, if there is one.

    ``known`` is the public side of the shares that are dealt anew, if they are.
    """
    dealers = [one.dealer for one in published]
    for one in published:
        try:
            for each in one.coefficients:
                point(each)
        except GroupError as error:
            raise SharingError(
                f"a dealer published what is no polynomial: {error}", [one.dealer]
            ) from None
        if known is not None:
            wanted = public_contribution(one.dealer, dealers, known)
            if one.coefficients[0] != wanted:
                raise SharingError("a dealer deals something else than its share", [one.dealer])


def receive(
    identifier: int, published: Sequence[Published], values: Mapping[int, Scalar], public: Point
) -> Scalar:
    """Return the share that the values of all dealers make; name each dealer whose value is wrong.

    ``values`` are by dealer, and ``public`` is the share times the base point. A wrong sum is
    looked into; values whose errors cancel out make the right share.
    """
    if {one.dealer for one in published} == set(values):
        share = plus(*(values[one.dealer] for one in published))
        if base_times(share) == public:
            return share
    wrong = [
        one.dealer
        for one in published
        if one.dealer not in values or not value_fits(values[one.dealer], identifier, one)
    ]
    reason = "a dealer sent a value that it did not publish" if wrong else NOT_DEALT
    raise SharingError(reason, wrong)


def value_fits(value: Scalar, identifier: int, published: Published) -> bool:
    """Whether a value for ``identifier`` is the one that its dealer published in the exponent."""
    try:
        return base_times(value) == published.value(identifier)
    except GroupError:
        return False


def total_of(published: Sequence[Published]) -> list[Point]:
    """Return the sum of all polynomials in the exponent."""
    return [
        points_plus(column) for column in zip(*(x.coefficients for x in published), strict=True)
    ]


def shares_of(total: Sequence[Point], receivers: Sequence[int]) -> Shares:
    """Return the public side of shares of the polynomial ``total``, on which all of them lie."""
    return Shares(
        public_key=total[0],
        threshold=len(total),
        public_shares={receiver: _value(total, receiver) for receiver in receivers},
    )


def prove_share(identifier: int, share: Scalar, context: bytes) -> Proof:
    """Return a proof that a holder has its share, for the challenger who chose ``context``."""
    return _prove(identifier, context, [base_times(share)], share)


def check_possession(identifier: int, known: Shares, proof: Proof, context: bytes) -> None:
    """Raise `SharingError` unless a holder has proved that it has its share."""
    public = known.public_shares.get(identifier)
    if public is None or not _proves(identifier, context, [public], proof):
        raise SharingError("a holder does not have the share that it claims", [identifier])


def contribution(identifier: int, dealers: Sequence[int], share: Scalar) -> Scalar:
    """Return what a holder deals, so that all ``dealers`` together deal the same key anew."""
    return times(interpolation(identifier, dealers), share)


def public_contribution(identifier: int, dealers: Sequence[int], known: Shares) -> Point:
    """Return `contribution` times the base point, from the public side of the old shares."""
    return point_times(interpolation(identifier, dealers), known.public_shares[identifier])


def check_shares(known: Shares) -> None:
    """Raise `SharingError` unless all public shares are those of the key with that threshold.

    They are if the key, at 0, and the shares lie on one polynomial of a degree below the threshold.
    Such values, weighted by any word of the dual code, have the sum 0 (Cascudo and David, SCRAPE,
    ACNS 2017). The word is random, and nobody knows it before: others have it with a chance of
    2**-252. All of these numbers are public.
    """
    _check_terms(known.threshold, sorted(known.public_shares))
    points = {0: known.public_key, **known.public_shares}
    weights = _dual_word(sorted(points), len(points) - known.threshold)
    try:
        terms = {one: checked_times(weights[one], each) for one, each in points.items()}
    except GroupError as error:
        raise SharingError(f"a public share is none: {error}") from None
    if points_plus(terms.values()) != IDENTITY:
        raise SharingError("the public shares are not those of one key")


def _dual_word(places: Sequence[int], terms: int) -> dict[int, Scalar]:
    """Return random weights by which values at these places have the sum 0.

    That holds for values of a polynomial of at most ``len(places) - terms`` coefficients. The
    weights are values of a random polynomial of so many ``terms``, each divided by the product of
    the differences of its place and all others.
    """
    coefficients = [int.from_bytes(random_scalar(), "little") for _ in range(terms)]
    weights = {}
    for place in places:
        value, product = 0, 1
        for coefficient in coefficients:
            value = (value * place + coefficient) % ORDER
        for other in places:
            if other != place:
                product *= place - other
        weights[place] = scalar_of(value * pow(product, -1, ORDER))
    return weights


def _check_terms(threshold: int, holders: Sequence[int]) -> None:
    if len(set(holders)) != len(holders) or not all(0 < one < 2**16 for one in holders):
        raise GroupError("identifiers of holders are different whole numbers from 1 to 65535")
    if not 0 < threshold <= len(holders):
        raise GroupError(f"a threshold of {threshold} does not fit {len(holders)} holders")


def _prove(who: int, context: bytes, points: Sequence[Point], secret: Scalar) -> Proof:
    """Return a proof of the secret of the first point; the others are bound to it."""
    nonce = random_scalar()
    commitment = base_times(nonce)
    challenge = _challenge(who, context, points, commitment)
    return Proof(commitment=commitment, response=plus(nonce, times(challenge, secret)))


def _proves(who: int, context: bytes, points: Sequence[Point], proof: Proof) -> bool:
    """Whether a proof is one of the secret of the first point, which is of prime order."""
    challenge = _challenge(who, context, points, proof.commitment)
    try:
        expected = points_plus((proof.commitment, checked_times(challenge, points[0])))
    except GroupError:
        return False
    return base_times(proof.response) == expected


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
