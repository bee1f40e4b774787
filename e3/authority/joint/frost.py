"""FROST(Ed25519, SHA-512): a signature of any ``threshold`` holders, in two rounds (RFC 9591).

Round 1: each signer makes `Nonces` with `commit`, and sends their `Commitment`. Round 2: each signs
with `sign_share`, once it has the commitments of all signers, and sends its share. With all shares,
anybody makes the signature with `aggregate`, which names each signer whose share is wrong. It
verifies as any other signature of Ed25519 (RFC 8032).

Nonces live in memory, and for one message: `sign_share` takes them out of their object, so that a
round cannot be repeated with them (RFC 9591, 7.3: used twice, they reveal the share).
"""

import os
from collections.abc import Mapping
from hashlib import sha512

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from e3.authority.joint.ed25519 import (
    SIZE,
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
    scalar_of,
    times,
)
from e3.authority.joint.errors import CeremonyError

CONTEXT = b"FROST-ED25519-SHA512-v1"


class SigningError(CeremonyError):
    """No signature came of a ceremony."""


class Commitment(msgspec.Struct, frozen=True, kw_only=True):
    """What a signer sends in round 1: its nonces times the base point.

    Another signer's is checked where it is used (`round_of`).
    """

    hiding: Point
    binding: Point


class SigningPackage(msgspec.Struct, frozen=True, kw_only=True):
    """What all signers of a message have after round 1.

    ``commitments`` are by identifier, of all signers.
    """

    public_key: Point
    message: bytes
    commitments: Mapping[int, Commitment]


class Nonces:
    """The secret nonces of one signer for one message; `take` gives them once."""

    def __init__(self, hiding: Scalar, binding: Scalar) -> None:
        """Keep both nonces, and what they commit to."""
        self.commitment = Commitment(hiding=base_times(hiding), binding=base_times(binding))
        self._secret: tuple[Scalar, Scalar] | None = (hiding, binding)

    def take(self) -> tuple[Scalar, Scalar]:
        """Return both nonces, and forget them."""
        secret, self._secret = self._secret, None
        if secret is None:
            raise SigningError("these nonces have signed before")
        return secret


def commit(
    share: Scalar, randomness: tuple[bytes, bytes] | None = None
) -> tuple[Nonces, Commitment]:
    """Return fresh nonces and their commitment (RFC 9591, 4.1 and 5.1).

    ``randomness`` is for test vectors: 32 bytes for each nonce, else from the system.
    """
    drawn = randomness or (os.urandom(SIZE), os.urandom(SIZE))
    hiding, binding = (hash_to_scalar(CONTEXT, b"nonce", bytes_, share) for bytes_ in drawn)
    nonces = Nonces(hiding, binding)
    return nonces, nonces.commitment


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a message and the commitments of all its signers."""

    signers: tuple[int, ...]
    factors: Mapping[int, Scalar]
    nonce_point: Point
    challenge: Scalar


def round_of(
    package: SigningPackage, own: Mapping[int, tuple[Scalar, Scalar]] | None = None
) -> Round:
    """Return what follows from a message and its commitments; no share is needed for it.

    Raises `SigningError` with the first signer whose commitment is no pair of points of prime
    order. ``own`` are nonces that were drawn here, by identifier: they are multiplied faster than
    their commitments, which need no check.
    """
    public_key, message, commitments = package.public_key, package.message, package.commitments
    signers = tuple(sorted(commitments))
    encoded = b"".join(
        scalar_of(one) + commitments[one].hiding + commitments[one].binding for one in signers
    )
    prefix = (
        public_key
        + sha512(CONTEXT + b"msg" + message).digest()
        + sha512(CONTEXT + b"com" + encoded).digest()
    )
    factors = {one: hash_to_scalar(CONTEXT, b"rho", prefix, scalar_of(one)) for one in signers}
    points: list[Point] = []
    for one in signers:
        if own and one in own:
            hiding, binding = own[one]
            points.append(base_times(plus(hiding, times(binding, factors[one]))))
        else:
            points += _terms(one, commitments[one], factors[one])
    nonce_point = points_plus(points)
    return Round(
        signers=signers,
        factors=factors,
        nonce_point=nonce_point,
        challenge=hash_to_scalar(nonce_point, public_key, message),
    )


def _terms(signer: int, commitment: Commitment, factor: Scalar) -> tuple[Point, Point]:
    """Return the two points whose sum is a signer's nonce times the base point, checked."""
    try:
        return point(commitment.hiding), checked_times(factor, commitment.binding)
    except GroupError as error:
        raise SigningError(f"a signer committed to what is no point: {error}", [signer]) from None


def sign_share(
    identifier: int, share: Scalar, nonces: Nonces, package: SigningPackage
) -> tuple[Scalar, Point]:
    """Return this signer's share of the signature (RFC 9591, 5.2); ``nonces`` are used up.

    With it comes the signature's first half, the sum of all nonces times the base point: whoever
    adds the shares need not compute it (`combined`).
    """
    hiding, binding = nonces.take()
    if package.commitments.get(identifier) != nonces.commitment:
        raise SigningError("the commitments have another one in place of this holder's")
    facts = round_of(package, {identifier: (hiding, binding)})
    weight = times(interpolation(identifier, facts.signers), facts.challenge)
    signed = plus(hiding, times(binding, facts.factors[identifier]), times(weight, share))
    return signed, facts.nonce_point


def combined(
    package: SigningPackage, nonce_point: bytes, shares: Mapping[int, Scalar]
) -> bytes | None:
    """Return the signature that shares and a nonce point make, 64 bytes; None if it is none.

    It is verified, so it does not matter who says what the nonce point is.
    """
    signature = nonce_point + plus(*(shares[one] for one in sorted(shares)))
    try:
        VerifyKey(package.public_key).verify(package.message, signature)
    except (BadSignatureError, ValueError):
        return None
    return signature


def aggregate(
    package: SigningPackage, shares: Mapping[int, Scalar], public_shares: Mapping[int, Point]
) -> bytes:
    """Return the signature, 64 bytes, that the shares of all signers make (RFC 9591, 5.3).

    ``public_shares`` are all signers' shares times the base point. Raises `SigningError` with the
    signers whose commitment or share is wrong, if the sum does not verify.
    """
    facts = round_of(package)
    if set(shares) != set(facts.signers):
        raise SigningError("a share is missing", sorted(set(facts.signers) - set(shares)))
    signature = combined(package, facts.nonce_point, shares)
    if signature is None:
        raise SigningError(
            "a share of the signature is wrong",
            [one for one in facts.signers if not _fits(one, package, facts, shares, public_shares)],
        )
    return signature


def _fits(
    signer: int,
    package: SigningPackage,
    facts: Round,
    shares: Mapping[int, Scalar],
    public_shares: Mapping[int, Point],
) -> bool:
    """Whether a signer's share is the one that its commitment and its key share make (5.4)."""
    weight = times(interpolation(signer, facts.signers), facts.challenge)
    terms = _terms(signer, package.commitments[signer], facts.factors[signer])
    expected = points_plus((*terms, point_times(weight, public_shares[signer])))
    return base_times(shares[signer]) == expected
