"""Encryption of a message's content: A256CBC-HS512, and for reading A256GCM and XC20P as well.

Sources: RFC 7518 (5.2.5, 5.3), draft-irtf-cfrg-xchacha-03 as DIDComm v2 uses it.
"""

import hmac
import os
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC as CBC_MODE
from nacl import bindings
from nacl.exceptions import CryptoError

from e3.didcomm.errors import DidcommError
from e3.remote.text import printable

CBC, GCM, XCHACHA = "A256CBC-HS512", "A256GCM", "XC20P"

SIZES = {CBC: (64, 16, 32), GCM: (32, 12, 16), XCHACHA: (32, 24, 16)}
"""The bytes of key, initialization vector and tag."""

BLOCK_BITS = 128


@dataclass(frozen=True, kw_only=True, repr=False)
class Sealed:
    """An encrypted content with its key."""

    key: bytes
    iv: bytes
    ciphertext: bytes
    tag: bytes


def seal(plaintext: bytes, associated: bytes) -> Sealed:
    """Encrypt by A256CBC-HS512 with a new key; ``associated`` is authenticated with it."""
    key, iv = os.urandom(64), os.urandom(16)
    padder = padding.PKCS7(BLOCK_BITS).padder()
    encryptor = Cipher(AES(key[32:]), CBC_MODE(iv)).encryptor()
    padded = padder.update(plaintext) + padder.finalize()
    ciphertext = encryptor.update(padded) + encryptor.finalize()
    tag = _tag(key[:32], associated, iv, ciphertext)
    return Sealed(key=key, iv=iv, ciphertext=ciphertext, tag=tag)


def open_sealed(sealed: Sealed, encryption: str, associated: bytes) -> bytes:
    """Return the plaintext; raise `DidcommError` unless all of it is as it was encrypted."""
    if encryption not in SIZES:
        raise DidcommError(
            f"a message is encrypted by {printable(encryption, 40)}, which is not used"
        )
    if (len(sealed.key), len(sealed.iv), len(sealed.tag)) != SIZES[encryption]:
        raise DidcommError("a message has a key, an iv or a tag of a wrong size")
    try:
        if encryption == GCM:
            return AESGCM(sealed.key).decrypt(sealed.iv, sealed.ciphertext + sealed.tag, associated)
        if encryption == XCHACHA:
            both = sealed.ciphertext + sealed.tag
            return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                both, associated, sealed.iv, sealed.key
            )
        return _open_cbc(sealed, associated)
    except (InvalidTag, CryptoError, ValueError):
        raise DidcommError("a message was changed on its way") from None


def _open_cbc(sealed: Sealed, associated: bytes) -> bytes:
    expected = _tag(sealed.key[:32], associated, sealed.iv, sealed.ciphertext)
    if not hmac.compare_digest(expected, sealed.tag):
        raise InvalidTag
    decryptor = Cipher(AES(sealed.key[32:]), CBC_MODE(sealed.iv)).decryptor()
    unpadder = padding.PKCS7(BLOCK_BITS).unpadder()
    padded = decryptor.update(sealed.ciphertext) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def _tag(key: bytes, associated: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    length = struct.pack(">Q", len(associated) * 8)
    return hmac.digest(key, associated + iv + ciphertext + length, "sha512")[:32]
