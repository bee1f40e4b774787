"""The joint authority for MPyC's own TLS, as sessions ask it: `e3.interfaces.Authority`."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from e3.authority.joint.requests import RequestError, TlsAuthority, TlsHost
from e3.authority.joint.requests.tls import public_key_of
from e3.ceremonies.signer import JointSigner
from e3.errors import AuthorityError
from e3.interfaces import SigningRequest

EARLIER_SECONDS = 3000
"""Certificates are valid from this long ago: hosts' clocks may be slow."""


@dataclass(frozen=True, kw_only=True)
class JointTlsCa:
    """Signs by a ceremony of the holders; nobody has the key."""

    certificate: str
    signer: JointSigner

    async def sign(self, requests: Sequence[SigningRequest]) -> Sequence[str]:
        """Return one certificate for each request, whose public key is a PEM signing request."""
        authority = x509.load_pem_x509_certificate(self.certificate.encode())
        (issuer,) = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        asked = [_host(request, str(issuer.value)) for request in requests]
        return await self.signer.sign(asked)


def _host(request: SigningRequest, issuer: str) -> TlsHost:
    now = int(time.time())
    try:
        key = public_key_of(request.public_key)
    except RequestError as error:
        raise AuthorityError(f"the signing request for {request.name!r}: {error}") from None
    return TlsHost(
        name=request.name,
        serial=_serial(),
        public_key=key,
        issuer=issuer,
        not_before=now - EARLIER_SECONDS,
        not_after=now + request.valid_seconds,
    )


def authority_request(title: str, valid_seconds: int, version: int = 2) -> TlsAuthority:
    """Return the request for the authority's own certificate, whose encoding is always X.509."""
    del version
    now = int(time.time())
    return TlsAuthority(
        name=title,
        serial=_serial(),
        not_before=now - EARLIER_SECONDS,
        not_after=now + valid_seconds,
    )


def _serial() -> str:
    """Return a random serial number of 16 bytes (RFC 5280, 4.1.2.2), in hexadecimal."""
    return f"{secrets.randbits(127) + 1:x}"
