"""Holders of a joint key in one process, each with its real share, for tests of what they sign."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from e3.authority.joint import ed25519, frost, sharing
from e3.authority.joint.ed25519 import Point, Scalar
from e3.authority.joint.frost import Commitment, Nonces, SigningPackage
from e3.authority.joint.requests import Request
from e3.authority.joint.sharing import Dealing, Shares

CONTEXT = b"a ceremony"


@dataclass(frozen=True, kw_only=True)
class JointKey:
    """A key in shares: what is public of it, and every holder's share."""

    known: Shares
    shares: Mapping[int, Scalar] = field(repr=False)

    @property
    def public_key(self) -> Point:
        return self.known.public_key

    def sign(self, message: bytes) -> bytes:
        """Sign with the first ``threshold`` holders."""
        return sign(self.known, self.shares, list(self.shares)[: self.known.threshold], message)

    def certify(self, request: Request) -> str:
        """Return what the holders' signature makes of a request."""
        signature = self.sign(request.to_be_signed(self.public_key))
        return request.assemble(self.public_key, signature)


def joint_key(holders: Sequence[int] = (1, 2, 3), threshold: int = 2) -> JointKey:
    """Return a new key, made by its holders."""
    known, shares = generate(holders, threshold)
    return JointKey(known=known, shares=shares)


def generate(holders: Sequence[int], threshold: int) -> tuple[Shares, dict[int, Scalar]]:
    """Make a key as its holders do: each deals a secret, and adds what it received."""
    dealings = [
        sharing.deal(one, ed25519.random_scalar(), threshold, holders, CONTEXT) for one in holders
    ]
    published = [one.published for one in dealings]
    key = sharing.checked_key(published, threshold, CONTEXT)
    return _shared(dealings, key, holders)


def _shared(
    dealings: Sequence[Dealing], key: Point, holders: Sequence[int]
) -> tuple[Shares, dict[int, Scalar]]:
    published = [one.published for one in dealings]
    known = sharing.shares_of(sharing.checked_total(published), holders)
    assert known.public_key == key
    sharing.check_shares(known)
    shares = {}
    for one in holders:
        values = {each.published.dealer: each.values[one] for each in dealings}
        shares[one] = sharing.receive(one, published, values, known.public_shares[one])
    return known, shares


def renew(
    known: Shares, shares: Mapping[int, Scalar], dealers: Sequence[int], to: Sequence[int], k: int
) -> tuple[Shares, dict[int, Scalar]]:
    """Give ``to`` new shares of the same key, dealt by ``dealers``."""
    dealings = [
        sharing.deal(one, sharing.contribution(one, dealers, shares[one]), k, to, CONTEXT)
        for one in dealers
    ]
    published = [one.published for one in dealings]
    sharing.accuse(published, known)
    key = sharing.checked_key(published, k, CONTEXT, known.public_key)
    return _shared(dealings, key, to)


def sign(
    known: Shares,
    shares: Mapping[int, Scalar],
    signers: Sequence[int],
    message: bytes,
    falsify: Sequence[int] = (),
) -> bytes:
    """Sign as the holders do; those in ``falsify`` send another share of the signature."""
    rounds = {one: frost.commit(shares[one]) for one in signers}
    package = package_of(known.public_key, message, rounds)
    parts = {
        one: frost.sign_share(one, shares[one], nonces, package)[0]
        for one, (nonces, _) in rounds.items()
    }
    for one in falsify:
        parts[one] = ed25519.plus(parts[one], ed25519.ONE)
    return frost.aggregate(package, parts, known.public_shares)


def package_of(
    public_key: Point, message: bytes, rounds: Mapping[int, tuple[Nonces, Commitment]]
) -> SigningPackage:
    """What signers have after round 1."""
    commitments = {one: commitment for one, (_, commitment) in rounds.items()}
    return SigningPackage(public_key=public_key, message=message, commitments=commitments)


def verify(public_key: Point, message: bytes, signature: bytes) -> None:
    """Raise unless a signature is right, by another library than the one that made it."""
    Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
