"""DIDComm's envelopes: encryption (JWE) and signatures (JWS), without any meaning of the content.

`decrypt` finds out to whom a message was encrypted and by which key, `verify` which keys signed it;
`e3.didcomm.messages` decides what follows. Sources: DIDComm Messaging v2.1 (encryption, signature),
RFC 7515, 7516, 7518, draft-madden-jose-ecdh-1pu-04, draft-irtf-cfrg-xchacha-03.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)
from msgspec import Meta

from e3.didcomm import content
from e3.didcomm.did import Document, DocumentKey
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import Jwk, PublicKey, base64url, from_jwk, to_jwk, unbase64
from e3.remote.text import printable

ENCRYPTED = "application/didcomm-encrypted+json"
SIGNED = "application/didcomm-signed+json"

MESSAGE_BYTES = 8 << 20
"""The most bytes of a message in its envelope: what a mediator keeps for a party, in a delivery."""

MOST_RECIPIENTS = 16
AUTHENTICATED, ANONYMOUS = "ECDH-1PU+A256KW", "ECDH-ES+A256KW"
KEY_BITS = 256

PrivateKey = X25519PrivateKey | ec.EllipticCurvePrivateKey
T = TypeVar("T")
Resolve = Callable[[str], Document]
Id = Annotated[str, Meta(max_length=8192)]
Short = Annotated[str, Meta(max_length=16_384)]


class _Kid(msgspec.Struct):
    kid: Id


class _Own(msgspec.Struct):
    kid: Id
    epk: Jwk | None = None
    """Askar has it here in anonymous messages; DIDComm has it in the protected header."""


class _Recipient(msgspec.Struct):
    header: _Own
    encrypted_key: Annotated[str, Meta(max_length=256)]


class _Jwe(msgspec.Struct):
    protected: Annotated[str, Meta(max_length=32_768)]
    recipients: Annotated[list[_Recipient], Meta(min_length=1, max_length=MOST_RECIPIENTS)]
    iv: Annotated[str, Meta(max_length=64)]
    ciphertext: str
    tag: Annotated[str, Meta(max_length=64)]
    aad: msgspec.UnsetType = msgspec.UNSET


class _Header(msgspec.Struct):
    alg: str
    enc: str
    apv: Short
    epk: Jwk | None = None
    apu: Short = ""
    skid: Id = ""
    crit: msgspec.UnsetType = msgspec.UNSET
    zip: msgspec.UnsetType = msgspec.UNSET


class _Signature(msgspec.Struct):
    protected: Annotated[str, Meta(max_length=32_768)]
    signature: Annotated[str, Meta(max_length=256)]
    header: _Kid | None = None


class _Jws(msgspec.Struct):
    payload: str
    signatures: Annotated[list[_Signature], Meta(min_length=1, max_length=MOST_RECIPIENTS)]


class _Signing(msgspec.Struct):
    alg: str
    kid: Id = ""
    crit: msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A decrypted message: ``kid`` is the key that opened it, ``sender`` the key that sent it."""

    content: bytes
    kid: str
    sender: str | None


@dataclass(frozen=True, kw_only=True)
class Verified:
    """The payload of a signed message, and the ids of the keys that signed it."""

    content: bytes
    kids: tuple[str, ...]


def encrypt(
    plaintext: bytes,
    to: Sequence[DocumentKey],
    sender: tuple[str, PrivateKey] | None = None,
) -> bytes:
    """Return ``plaintext`` encrypted to keys of one curve; from ``sender``, a key's id and itself.

    Without a sender nobody can tell who sent it (anoncrypt), with one the recipients can
    (authcrypt), and they could have made it themselves.
    """
    ephemeral = _ephemeral(to[0].key)
    algorithm = AUTHENTICATED if sender else ANONYMOUS
    apu = sender[0].encode() if sender else b""
    apv = _party_info([each.id for each in to])
    header = {
        "typ": ENCRYPTED,
        "alg": algorithm,
        "enc": content.CBC,
        "apv": base64url(apv),
        "epk": msgspec.to_builtins(to_jwk(ephemeral.public_key())),
    }
    if sender:
        header |= {"skid": sender[0], "apu": base64url(apu)}
    protected = base64url(json.dumps(header, separators=(",", ":")).encode())
    sealed = content.seal(plaintext, protected.encode())
    recipients = []
    for each in to:
        shared = _exchange(ephemeral, each.key)
        if sender:
            shared += _exchange(sender[1], each.key)
        wrapping = _derive(shared, algorithm, apu, apv, sealed.tag if sender else None)
        wrapped = base64url(aes_key_wrap(wrapping, sealed.key))
        recipients.append({"header": {"kid": each.id}, "encrypted_key": wrapped})
    return msgspec.json.encode(
        {
            "protected": protected,
            "recipients": recipients,
            "iv": base64url(sealed.iv),
            "ciphertext": base64url(sealed.ciphertext),
            "tag": base64url(sealed.tag),
        }
    )


def decrypt(message: bytes, secrets: Mapping[str, PrivateKey], resolve: Resolve) -> Opened:
    """Return what a message has, opened by one of ``secrets``, which are by the keys' ids.

    ``resolve`` returns the document of the sender's DID. Raises `DidcommError` for everything
    else: a foreign message, a damaged one, one of algorithms that E3 does not use.
    """
    jwe = _decoded(message, _Jwe)
    header = _decoded(unbase64(jwe.protected), _Header)
    if header.alg not in {AUTHENTICATED, ANONYMOUS}:
        raise DidcommError(
            f"a message is encrypted by {printable(header.alg, 40)}, which is not used"
        )
    if header.alg == AUTHENTICATED and header.enc != content.CBC:
        raise DidcommError("an authenticated message must use A256CBC-HS512")
    apv = _party_info([each.header.kid for each in jwe.recipients])
    if unbase64(header.apv) != apv:
        raise DidcommError("a message's apv does not match its recipients")
    mine = next((each for each in jwe.recipients if each.header.kid in secrets), None)
    if mine is None:
        raise DidcommError("a message is encrypted to keys that are not ours")
    secret = secrets[mine.header.kid]
    apu, tag = unbase64(header.apu), unbase64(jwe.tag)
    sender = _sender(header, apu)
    epk = header.epk or (mine.header.epk if sender is None else None)
    if epk is None:
        raise DidcommError("a message has no ephemeral key")
    shared = _exchange(secret, from_jwk(epk))
    if sender is not None:
        did = sender.partition("#")[0]
        shared += _exchange(secret, resolve(did).agreement_key(sender))
    wrapping = _derive(shared, header.alg, apu, apv, tag if sender is not None else None)
    try:
        key = aes_key_unwrap(wrapping, unbase64(mine.encrypted_key))
    except (InvalidUnwrap, ValueError):
        raise DidcommError("a message was not encrypted by the keys that it names") from None
    sealed = content.Sealed(
        key=key, iv=unbase64(jwe.iv), ciphertext=unbase64(jwe.ciphertext), tag=tag
    )
    opened = content.open_sealed(sealed, header.enc, jwe.protected.encode())
    return Opened(content=opened, kid=mine.header.kid, sender=sender)


def sign(payload: bytes, kid: str, key: Ed25519PrivateKey) -> bytes:
    """Return ``payload`` signed by a key whose id is ``kid``."""
    header = json.dumps({"typ": SIGNED, "alg": "EdDSA", "kid": kid}, separators=(",", ":"))
    protected, body = base64url(header.encode()), base64url(payload)
    signature = base64url(key.sign(f"{protected}.{body}".encode()))
    entry = {"protected": protected, "signature": signature, "header": {"kid": kid}}
    return msgspec.json.encode({"payload": body, "signatures": [entry]})


def verify(message: bytes, resolve: Resolve) -> Verified:
    """Return the payload of a signed message; every signature must be right."""
    jws = _decoded(message, _Jws)
    kids = []
    for each in jws.signatures:
        header = _decoded(unbase64(each.protected), _Signing)
        outer = each.header.kid if each.header else ""
        kid = header.kid or outer
        if not kid or (outer and outer != kid):
            raise DidcommError("a signature does not name its key, or two different ones")
        key = resolve(kid.partition("#")[0]).signing_key(kid)
        signed = f"{each.protected}.{jws.payload}".encode()
        _check(key, header.alg, unbase64(each.signature), signed)
        kids.append(kid)
    return Verified(content=unbase64(jws.payload), kids=tuple(kids))


def _check(key: PublicKey, algorithm: str, signature: bytes, signed: bytes) -> None:
    try:
        if isinstance(key, Ed25519PublicKey) and algorithm in {"EdDSA", "Ed25519"}:
            key.verify(signature, signed)
            return
        if isinstance(key, ec.EllipticCurvePublicKey) and (
            {"ES256": "secp256r1", "ES256K": "secp256k1"}.get(algorithm) == key.curve.name
        ):
            half = len(signature) // 2
            r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
            encoded = utils.encode_dss_signature(r, s)
            key.verify(encoded, signed, ec.ECDSA(hashes.SHA256()))
            return
    except InvalidSignature:
        raise DidcommError("a signature is wrong") from None
    raise DidcommError(f"a signature by {printable(algorithm, 40)} does not fit its key")


def _sender(header: _Header, apu: bytes) -> str | None:
    """Return the id of the sender's key; None for an anonymous message."""
    if header.alg == ANONYMOUS:
        return None
    named = header.skid or apu.decode("utf-8", "replace")
    if named.encode() != apu:
        raise DidcommError("a message's apu is not its sender's key")
    return named


def _party_info(kids: Sequence[str]) -> bytes:
    return hashlib.sha256(".".join(sorted(kids)).encode()).digest()


def _ephemeral(key: PublicKey) -> PrivateKey:
    if isinstance(key, X25519PublicKey):
        return X25519PrivateKey.generate()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return ec.generate_private_key(key.curve)
    raise DidcommError("an Ed25519 key cannot be encrypted to")


def _exchange(own: PrivateKey, other: PublicKey) -> bytes:
    """Return the shared secret of two keys of one curve."""
    try:
        if isinstance(own, X25519PrivateKey) and isinstance(other, X25519PublicKey):
            return own.exchange(other)
        if (
            isinstance(own, ec.EllipticCurvePrivateKey)
            and isinstance(other, ec.EllipticCurvePublicKey)
            and own.curve.name == other.curve.name
        ):
            return own.exchange(ec.ECDH(), other)
    except (ValueError, UnsupportedAlgorithm):  # a point of small order gives zero
        raise DidcommError("a key gives no shared secret") from None
    raise DidcommError("a message mixes keys of different curves")


def _derive(shared: bytes, algorithm: str, apu: bytes, apv: bytes, tag: bytes | None) -> bytes:
    """Return the wrapping key (NIST SP 800-56A's Concat KDF, as RFC 7518 4.6.2 has it)."""

    def measured(data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + data

    info = measured(algorithm.encode()) + measured(apu) + measured(apv)
    info += struct.pack(">I", KEY_BITS) + (measured(tag) if tag is not None else b"")
    return ConcatKDFHash(algorithm=hashes.SHA256(), length=32, otherinfo=info).derive(shared)


def _decoded(data: bytes, kind: type[T]) -> T:
    if len(data) > MESSAGE_BYTES:
        raise DidcommError(f"a message has more than {MESSAGE_BYTES} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DidcommError(f"a message cannot be read: {printable(error)}") from None
