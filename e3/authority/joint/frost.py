"""FROST(Ed25519, SHA-512): a signature of any ``threshold`` holders, in two rounds (RFC 9591).

Round 1: each signer makes `Nonces` with `commit`, and sends their `Commitment`. Round 2: each signs
with `sign_share`, once it has the commitments of all signers, and sends its share. With all shares,
anybody makes the signature with `aggregate`, which names each signer whose share is wrong. It
verifies as any other signature of Ed25519 (RFC 8032).

Nonces live in memory, and for one message: `sign_share` takes them out of their object, so that a
round cannot be repeated with them (RFC 9591, 7.3: used twice, they reveal the share).
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha512

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from e3.authority.joint.ed25519 import (
    SIZE,
    Point,
    Scalar,
    base_times,
    hash_to_scalar,
    interpolation,
    plus,
    point_times,
    points_plus,
    scalar_of,
    times,
)
from e3.authority.joint.errors import CeremonyError

CONTEXT = b"FROST-ED25519-SHA512-v1"


class SigningError(CeremonyError):
    """No signature came of a ceremony."""


@dataclass(frozen=True, kw_only=True)
class Commitment:
    """What a signer sends in round 1: its nonces times the base point."""

    hiding: Point
    binding: Point


@dataclass(frozen=True, kw_only=True)
class SigningPackage:
    """What all signers of a message have after round 1; each point has been checked.

    ``commitments`` are by identifier, of all signers.
    """

    public_key: Point
    message: bytes
    commitments: Mapping[int, Commitment]


@dataclass(kw_only=True)
class Nonces:
    """The secret nonces of one signer for one message; `take` gives them once."""

    _hiding: Scalar | None = field(repr=False)
    _binding: Scalar | None = field(repr=False)

    def take(self) -> tuple[Scalar, Scalar]:
        """Return both nonces, and forget them."""
        hiding, binding = self._hiding, self._binding
        self._hiding = self._binding = None
        if hiding is None or binding is None:
            raise SigningError("these nonces have signed before")
        return hiding, binding


def commit(
    share: Scalar, randomness: tuple[bytes, bytes] | None = None
) -> tuple[Nonces, Commitment]:
    """Return fresh nonces and their commitment (RFC 9591, 4.1 and 5.1).

    ``randomness`` is for test vectors: 32 bytes for each nonce, else from the system.
    """
    drawn = randomness or (secrets.token_bytes(SIZE), secrets.token_bytes(SIZE))
    hiding, binding = (hash_to_scalar(CONTEXT, b"nonce", bytes_, share) for bytes_ in drawn)
    commitment = Commitment(hiding=base_times(hiding), binding=base_times(binding))
    return Nonces(_hiding=hiding, _binding=binding), commitment


@dataclass(frozen=True, kw_only=True)
class Round:
    """What follows from a message and the commitments of all its signers."""

    signers: tuple[int, ...]
    factors: Mapping[int, Scalar]
    nonce_points: Mapping[int, Point]
    nonce_point: Point
    challenge: Scalar


def round_of(package: SigningPackage) -> Round:
    """Return what follows from a message and its commitments; no share is needed for it."""
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
    nonce_points = {
        one: points_plus(
            (commitments[one].hiding, point_times(factors[one], commitments[one].binding))
        )
        for one in signers
    }
    nonce_point = points_plus(nonce_points.values())
    return Round(
        signers=signers,
        factors=factors,
        nonce_points=nonce_points,
        nonce_point=nonce_point,
        challenge=hash_to_scalar(nonce_point, public_key, message),
    )


def sign_share(identifier: int, share: Scalar, nonces: Nonces, package: SigningPackage) -> Scalar:
    """Return this signer's share of the signature (RFC 9591, 5.2); ``nonces`` are used up."""
    hiding, binding = nonces.take()
    mine = Commitment(hiding=base_times(hiding), binding=base_times(binding))
    if package.commitments.get(identifier) != mine:
        raise SigningError("the commitments have another one in place of this holder's")
    facts = round_of(package)
    weight = times(interpolation(identifier, facts.signers), facts.challenge)
    return plus(hiding, times(binding, facts.factors[identifier]), times(weight, share))


def aggregate(
    package: SigningPackage,
    shares: Mapping[int, Scalar],
    public_shares: Mapping[int, Point],
    known: Round | None = None,
) -> bytes:
    """Return the signature, 64 bytes, that the shares of all signers make (RFC 9591, 5.3).

    ``public_shares`` are all signers' shares times the base point. Raises `SigningError` with the
    signers whose share is wrong, if the sum does not verify. ``known`` is `round_of` the package,
    where it has been computed while shares were on their way.
    """
    facts = known or round_of(package)
    if set(shares) != set(facts.signers):
        raise SigningError("a share is missing", sorted(set(facts.signers) - set(shares)))
    signature = facts.nonce_point + plus(*(shares[one] for one in facts.signers))
    try:
        VerifyKey(package.public_key).verify(package.message, signature)
    except (BadSignatureError, ValueError) as error:
        raise SigningError(
            "a share of the signature is wrong",
            [one for one in facts.signers if not _share_fits(one, facts, shares, public_shares)],
        ) from error
    return signature


def _share_fits(
    signer: int, facts: Round, shares: Mapping[int, Scalar], public_shares: Mapping[int, Point]
) -> bool:
    """Whether a signer's share is the one that its commitment and its key share make (5.4)."""
    weight = times(interpolation(signer, facts.signers), facts.challenge)
    expected = points_plus((facts.nonce_points[signer], point_times(weight, public_shares[signer])))
    return base_times(shares[signer]) == expected
