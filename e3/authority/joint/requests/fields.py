"""Types of the fields that requests have in common, all of them bounded."""

from typing import Annotated, ClassVar, Literal, get_args

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from e3.authority.joint.ed25519 import Point
from e3.authority.joint.errors import CeremonyError

Purpose = Literal["nebula", "tls", "ssh", "credentials"]
"""What a key of the joint authority is for: each has its own, so that no signature of one purpose
means anything for another."""

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
SHOWN = 100
SIGNATURE_BYTES = 64

Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=64, pattern=r"\A[A-Za-z0-9]([A-Za-z0-9 ._-]*[A-Za-z0-9])?\Z"
    ),
]
"""A name of a host, an authority or a group: ASCII, so that it looks the same everywhere."""

Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
"""A public key of Ed25519 or X25519, as RFC 8032 or RFC 7748 encodes it."""

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
"""A SHA-256."""

Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
"""A Unix time, before the year 10000 (the last that X.509 can say)."""


class RequestError(CeremonyError):
    """A request has a value that it cannot have; nothing is signed."""


class Signable(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """What every request has: from when until when its certificate is valid, in Unix seconds."""

    purpose: ClassVar[Purpose]

    not_before: Seconds
    not_after: Seconds

    def __post_init__(self) -> None:
        """Refuse a validity that ends before it begins, and values that do not fit together."""
        if self.not_after <= self.not_before:
            raise RequestError(
                f"not_after: {self.not_after} must be later than not_before, {self.not_before}"
            )
        self.check()

    def check(self) -> None:
        """Raise `RequestError` for values that do not fit together."""


def verify(public_key: Point, message: bytes, signature: bytes) -> None:
    """Raise `RequestError` unless ``signature`` is this key's for ``message`` (RFC 8032)."""
    try:
        VerifyKey(public_key).verify(message, signature)
    except (BadSignatureError, ValueError) as error:
        raise RequestError("the signature is not the authority's for this request") from error


def shown(value: object) -> str:
    """Return a value from others for a sentence: printable, and of bounded length."""
    text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
