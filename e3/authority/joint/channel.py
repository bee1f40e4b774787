"""How holders know one another before there is an authority: signed words, and sealed values.

Each host makes one Ed25519 key for itself. What a holder says to all is signed with it, for one
step of one ceremony. What a dealer gives one receiver is encrypted besides, between two X25519
keys of this ceremony alone, which their holders sign and forget (crypto_box of libsodium): keys
that leak later open no value that somebody recorded.
"""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey
from nacl.signing import SigningKey, VerifyKey

from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.messages import Body, Envelope, Identifier, decode, encode

CONTEXT = b"E3-CEREMONY-v1"

B = TypeVar("B", bound=Body)


class ChannelError(CeremonyError):
    """Words of a holder are not signed by it, or are none that belong in this step."""


def speak(key: SigningKey, sender: Identifier, context: bytes, body: Body) -> Envelope:
    """Return what ``sender`` says to all in the ceremony whose digest is ``context``."""
    data = encode(body)
    signature = key.sign(signed_bytes(type(body), sender, context, data)).signature
    return Envelope(sender=sender, body=data, signature=signature)


def verify(envelope: Envelope, key: bytes, context: bytes, kind: type[B]) -> B:
    """Return what a holder said; raise `ChannelError` if it did not, or not in this ceremony."""
    signed = signed_bytes(kind, envelope.sender, context, envelope.body)
    try:
        VerifyKey(key).verify(signed, envelope.signature)
    except (CryptoError, ValueError):
        raise ChannelError(
            f"the {kind.__name__} of a holder is not signed by it for this ceremony",
            [envelope.sender],
        ) from None
    try:
        return decode(envelope.body, kind)
    except msgspec.MsgspecError as error:
        raise ChannelError(
            f"a holder sent a {kind.__name__} that is none: {error}", [envelope.sender]
        ) from None


def check_sealing(theirs: bytes) -> None:
    """Raise `ChannelError` for a key with which no value can be sealed: a point of small order."""
    try:
        Box(PrivateKey.generate(), PublicKey(theirs))
    except CryptoError:
        raise ChannelError("a holder has a key with which nothing can be sealed for it") from None


def seal(value: Envelope, mine: PrivateKey, theirs: bytes, receiver: Identifier) -> bytes:
    """Return a signed value encrypted for one receiver."""
    try:
        return bytes(Box(mine, PublicKey(theirs)).encrypt(encode(value)))
    except CryptoError:
        raise ChannelError("nothing can be sealed with a holder's key", [receiver]) from None


def unseal(sealed: bytes, mine: PrivateKey, theirs: bytes, dealer: Identifier) -> Envelope:
    """Return the signed value that ``dealer`` has sealed for us."""
    try:
        opened = Box(mine, PublicKey(theirs)).decrypt(sealed)
        return decode(opened, Envelope)
    except (CryptoError, ValueError, TypeError, msgspec.MsgspecError):
        raise ChannelError("a dealer's value cannot be opened", [dealer]) from None


def digest(*parts: bytes) -> bytes:
    """Return the SHA-256 of parts, each with its length, so that parts cannot shift."""
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


def view(context: bytes, envelopes: Sequence[Envelope]) -> bytes:
    """Return the digest of all that was said to everybody, whatever the order in which it came."""
    said = sorted((each.sender, each.body) for each in envelopes)
    return digest(context, *(sender.to_bytes(2, "big") + body for sender, body in said))


def signed_bytes(kind: type[Body], sender: Identifier, context: bytes, body: bytes) -> bytes:
    """Return the bytes that a holder signs to say ``body``."""
    return CONTEXT + digest(kind.__name__.encode(), context, sender.to_bytes(2, "big"), body)
