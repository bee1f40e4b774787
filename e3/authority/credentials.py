"""Credentials of the stack's authority: issued for a short time, bound to a DID, revocable.

They are signed by the holders of a joint key or, as `LocalSigner` does, by one key. `verify` reads
what E3 issues and nothing else: it makes what should have been signed from what the credential
says, and compares. So a credential has one encoding, and no member that is not understood.

Sources: see `e3.authority.joint.requests.credential`.
"""

import secrets
import time
import uuid
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from e3.authority.joint import requests
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.requests import (
    Credential,
    Request,
    SelectiveCredential,
    Status,
    StatusList,
)
from e3.authority.joint.requests.credential import LIST_BITS, base64url

SALT_BYTES = 16
SECONDS = 3600
"""How long a credential, or a list of revoked ones, is valid unless asked for otherwise."""


class Signer(Protocol):
    """Who signs credentials: the holders of a joint key, or one key."""

    @property
    def public_key(self) -> bytes:
        """The Ed25519 key by which the signatures are verified."""

    async def sign(self, asked: Sequence[Request]) -> Sequence[str]:
        """Return what is made of each request, in order; `AuthorityError` if one is refused."""


@dataclass(frozen=True, kw_only=True)
class LocalSigner:
    """Signs with a key that whoever deploys the stack holds, 32 bytes (RFC 8032, 5.1.5)."""

    key: bytes = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """See `Signer`."""
        return self._key.public_key().public_bytes_raw()

    async def sign(self, asked: Sequence[Request]) -> Sequence[str]:
        """See `Signer`; a request that is not within its bounds is refused as holders do."""
        point = Point(self.public_key)
        read = [requests.decode(requests.encode(each)) for each in asked]
        return [each.assemble(point, self._key.sign(each.to_be_signed(point))) for each in read]

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.key)


def asked(
    subject: str,
    claims: Mapping[str, str],
    *,
    status: Status | None = None,
    seconds: int = SECONDS,
    now: float | None = None,
) -> Credential:
    """Return the request for a new credential: ``subject``, a DID, has these claims.

    It is valid for ``seconds``. ``status`` is where it can be revoked, see `place`; ``now`` is a
    Unix time.
    """
    begins = int(time.time() if now is None else now)
    return Credential(
        not_before=begins,
        not_after=begins + seconds,
        identifier=str(uuid.uuid4()),
        subject=subject,
        claims=dict(claims),
        status=status,
    )


def selective(request: Credential) -> SelectiveCredential:
    """Return the request for the same credential, of which its holder can show chosen claims."""
    return SelectiveCredential(
        not_before=request.not_before,
        not_after=request.not_after,
        identifier=request.identifier,
        subject=request.subject,
        claims=request.claims,
        salts={name: base64url(secrets.token_bytes(SALT_BYTES)) for name in request.claims},
        status=request.status,
        algorithm=request.algorithm,
    )


async def issue(signer: Signer, request: Credential | SelectiveCredential) -> str:
    """Return the credential that was `asked` for: JWT, or SD-JWT with all disclosures."""
    (text,) = await signer.sign([request])
    return text


async def publish(
    signer: Signer,
    url: str,
    revoked: Sequence[int],
    *,
    seconds: int = SECONDS,
    now: float | None = None,
) -> str:
    """Return the list of revoked credentials as JWT; ``revoked`` are their places."""
    begins = int(time.time() if now is None else now)
    request = StatusList(
        not_before=begins,
        not_after=begins + seconds,
        url=url,
        revoked=tuple(sorted(set(revoked))),
    )
    (text,) = await signer.sign([request])
    return text


def place(url: str, taken: Container[int]) -> Status:
    """Return a free place of a list by chance, so that places tell nothing of when or for whom."""
    while (index := secrets.randbelow(LIST_BITS)) in taken:
        pass
    return Status(url=url, index=index)
