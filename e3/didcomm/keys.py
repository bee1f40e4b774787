"""Public keys as DID documents write them: multikeys, JWKs and base58.

Sources: Multibase and Multicodec as of W3C Controlled Identifiers 1.0 (2.2.2), RFC 7517, 8037.
"""

import base64
import binascii
from typing import Annotated

import base58
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Meta, Struct
from nacl import bindings
from nacl.exceptions import CryptoError

from e3.didcomm.errors import DidcommError
from e3.remote.text import printable

PublicKey = Ed25519PublicKey | X25519PublicKey | ec.EllipticCurvePublicKey

ED25519, X25519 = b"\xed\x01", b"\xec\x01"
"""Multicodec prefixes (varints of 0xed and 0xec)."""

CURVES: dict[bytes, ec.EllipticCurve] = {
    b"\x80\x24": ec.SECP256R1(),
    b"\x81\x24": ec.SECP384R1(),
    b"\x82\x24": ec.SECP521R1(),
    b"\xe7\x01": ec.SECP256K1(),
}
"""Elliptic curves by their multicodec prefix."""

JWK_CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}
"""Elliptic curves by their name in a JWK (RFC 7518, 6.2.1.1; RFC 8812)."""

MULTIKEY_LENGTH = 200
"""The most characters of an encoded key: decoding base58 takes the square of its length."""


class Jwk(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A public JWK; other members are ignored."""

    kty: Annotated[str, Meta(max_length=8)]
    crv: Annotated[str, Meta(max_length=16)]
    x: Annotated[str, Meta(max_length=100)]
    y: Annotated[str, Meta(max_length=100)] = ""


def multikey(key: PublicKey) -> str:
    """Return the key as a multikey: a multicodec prefix and the key, in base58btc after ``z``."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        prefix = next(each for each, curve in CURVES.items() if curve.name == key.curve.name)
        raw = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    else:
        prefix = ED25519 if isinstance(key, Ed25519PublicKey) else X25519
        raw = key.public_bytes_raw()
    return "z" + base58.b58encode(prefix + raw).decode()


def from_multikey(text: str) -> PublicKey:
    """Return the key that a multikey encodes."""
    if not text.startswith("z"):
        raise DidcommError(f"key {printable(text, 60)} is not in base58btc; it must begin with z")
    decoded = from_base58(text[1:])
    prefix, raw = decoded[:2], decoded[2:]
    try:
        if prefix == ED25519:
            return Ed25519PublicKey.from_public_bytes(raw)
        if prefix == X25519:
            return X25519PublicKey.from_public_bytes(raw)
        if curve := CURVES.get(prefix):
            return ec.EllipticCurvePublicKey.from_encoded_point(curve, raw)
    except (ValueError, UnsupportedAlgorithm):
        raise DidcommError(f"key {printable(text, 60)} is no point of its curve") from None
    raise DidcommError(f"key {printable(text, 60)} is of a kind that E3 does not use")


def from_base58(text: str) -> bytes:
    """Return what base58btc ``text`` encodes."""
    if len(text) > MULTIKEY_LENGTH:
        raise DidcommError(f"key {printable(text, 60)} has more than {MULTIKEY_LENGTH} characters")
    try:
        return base58.b58decode(text.encode("ascii"))
    except ValueError:
        raise DidcommError(f"key {printable(text, 60)} is not in base58btc") from None


def from_jwk(jwk: Jwk) -> PublicKey:
    """Return the key of a JWK."""
    try:
        if jwk.kty == "OKP" and jwk.crv == "Ed25519":
            return Ed25519PublicKey.from_public_bytes(unbase64(jwk.x))
        if jwk.kty == "OKP" and jwk.crv == "X25519":
            return X25519PublicKey.from_public_bytes(unbase64(jwk.x))
        if jwk.kty == "EC" and jwk.crv in JWK_CURVES:
            x, y = (int.from_bytes(unbase64(each)) for each in (jwk.x, jwk.y))
            return ec.EllipticCurvePublicNumbers(x, y, JWK_CURVES[jwk.crv]).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise DidcommError(f"a JWK of curve {printable(jwk.crv)} is no point of it") from None
    kind = printable(f"{jwk.kty} {jwk.crv}")
    raise DidcommError(f"a JWK of kind {kind} is none that E3 uses")


def to_jwk(key: PublicKey) -> Jwk:
    """Return the JWK of a key."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        numbers, size = key.public_numbers(), (key.key_size + 7) // 8
        crv = next(each for each, curve in JWK_CURVES.items() if curve.name == key.curve.name)
        x, y = (base64url(each.to_bytes(size)) for each in (numbers.x, numbers.y))
        return Jwk(kty="EC", crv=crv, x=x, y=y)
    crv = "Ed25519" if isinstance(key, Ed25519PublicKey) else "X25519"
    return Jwk(kty="OKP", crv=crv, x=base64url(key.public_bytes_raw()))


def agreement_key(key: Ed25519PublicKey) -> X25519PublicKey:
    """Return the X25519 key that did:key derives from an Ed25519 key (RFC 7748, 4.1)."""
    try:
        converted = bindings.crypto_sign_ed25519_pk_to_curve25519(key.public_bytes_raw())
    except (CryptoError, RuntimeError):
        raise DidcommError("an Ed25519 key is no point of prime order") from None
    return X25519PublicKey.from_public_bytes(converted)


def base64url(data: bytes) -> str:
    """Return ``data`` in base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unbase64(text: str) -> bytes:
    """Return what base64url ``text`` encodes; padding is permitted, other characters are not."""
    try:
        bare = text.rstrip("=").encode("ascii")
        return base64.b64decode(bare + b"=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise DidcommError(f"{printable(text, 40)} is not in base64url") from None
