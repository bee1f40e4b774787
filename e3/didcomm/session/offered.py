"""The keys that parties offer: what can be wrong with them, and the secret of a pair."""

import base64

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import unbase64
from e3.didcomm.session.bodies import PROTOCOL, Offer

KEY_BYTES = 32


def usable(offer: Offer) -> bool:
    """Return whether an offer has a secret, and a key with which a tunnel can be made."""
    try:
        if len(unbase64(offer.half)) != KEY_BYTES:
            return False
        if offer.wireguard:
            key = base64.b64decode(offer.wireguard, validate=True)
            # a point of small order gives no shared secret (RFC 7748, 6.1)
            X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(key))
    except (ValueError, DidcommError):
        return False
    return True


def same_keys(one: Offer, other: Offer) -> bool:
    """Return whether a tunnel could not tell two peers apart."""
    tunnels = bool(one.wireguard) and one.wireguard == other.wireguard
    return tunnels or one.fingerprint == other.fingerprint


def pair_secret(roster: str, sid: str, dids: tuple[str, str], halves: tuple[str, str]) -> bytes:
    """Return the secret of a pair: of both halves and DIDs, the roster's hash and the session."""
    derive = HKDF(
        algorithm=hashes.SHA256(),
        length=KEY_BYTES,
        salt=bytes.fromhex(roster),
        info=f"{PROTOCOL}|{sid}|{'|'.join(dids)}".encode(),
    )
    return derive.derive(b"".join(map(unbase64, halves)))
