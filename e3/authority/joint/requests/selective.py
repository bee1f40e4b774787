"""Credentials of which the holder shows chosen claims alone: SD-JWT (RFC 9901) of a W3C credential.

The credential has a digest of each claim in place of the claim (VC-JOSE-COSE 1.0, 3.2). Claim and
salt are in a *disclosure* beside it, which its holder adds or leaves out. Holders of a joint key
see all claims and salts, since they judge what they sign, and make the digests by themselves.
"""

import base64
import hashlib
from typing import Annotated, ClassVar

import msgspec

from e3.authority.joint.ed25519 import Point
from e3.authority.joint.requests.credential import (
    RESERVED,
    SELECTIVE,
    Algorithm,
    Claim,
    Did,
    Status,
    Uuid,
    Value,
    base64url,
    did_of,
    jwt,
    payload_of,
    signed_bytes,
)
from e3.authority.joint.requests.fields import Purpose, RequestError, Signable, shown

MOST_CLAIMS = 16
SEPARATOR = "~"

Salt = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{22}\Z")]
"""128 random bits, so that nobody finds a claim that is not shown by trying values."""

Digest = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{43}\Z")]


class Hidden(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"digests": "_sd"}
):
    """What a credential says of its subject in plain text: who it is, and digests of the claims."""

    id: str
    digests: Annotated[tuple[Digest, ...], msgspec.Meta(min_length=1, max_length=MOST_CLAIMS)]


class SelectiveCredential(Signable, frozen=True, kw_only=True, tag="selective-credential"):
    """A credential as `Credential` is; each claim has a salt, by its name."""

    purpose: ClassVar[Purpose] = "credentials"

    identifier: Uuid
    subject: Did
    claims: Annotated[dict[Claim, Value], msgspec.Meta(min_length=1, max_length=MOST_CLAIMS)]
    salts: Annotated[dict[Claim, Salt], msgspec.Meta(max_length=MOST_CLAIMS)]
    status: Status | None = None
    algorithm: Algorithm = "EdDSA"

    def check(self) -> None:
        """Refuse claims of the standard's own names, and claims without a salt of their own."""
        if taken := RESERVED & set(self.claims):
            raise RequestError(f"claims: {shown(sorted(taken))} must have another name")
        if set(self.salts) != set(self.claims):
            raise RequestError("salts: there must be one for each claim")
        if len(set(self.salts.values())) < len(self.salts):
            raise RequestError("salts: each must be another one")

    @property
    def disclosures(self) -> list[str]:
        """The disclosure of each claim, in the order of their names."""
        return [
            disclosure(self.salts[name], name, value) for name, value in sorted(self.claims.items())
        ]

    def to_be_signed(self, public_key: Point) -> bytes:
        """Return what the authority signs for this credential."""
        issuer = did_of(public_key)
        digests = tuple(sorted(map(digest, self.disclosures)))  # their order tells nothing
        said = Hidden(id=self.subject, digests=digests)
        payload = payload_of(self, issuer, said, "sha-256")
        return signed_bytes(self.algorithm, issuer, payload, SELECTIVE)

    def assemble(self, public_key: Point, signature: bytes) -> str:
        """Return the SD-JWT with all disclosures; `RequestError` if the signature is wrong."""
        parts = [jwt(self, public_key, signature), *self.disclosures]
        return "".join(f"{part}{SEPARATOR}" for part in parts)


def disclosure(salt: str, name: str, value: str) -> str:
    """Return the disclosure of a claim (RFC 9901, 4.2.1)."""
    return base64url(msgspec.json.encode([salt, name, value]))


def digest(text: str) -> str:
    """Return the digest of a disclosure (RFC 9901, 4.2.3)."""
    return base64url(hashlib.sha256(text.encode("ascii")).digest())


def disclosed(text: str) -> tuple[str, str]:
    """Return name and value of the claim in a disclosure; `ValueError` if it is not E3's form."""
    content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    salt, name, value = msgspec.json.decode(content, type=tuple[Salt, Claim, Value])
    if disclosure(salt, name, value) != text:
        raise ValueError("a disclosure is not written in the way that E3 writes them")
    return name, value
