"""X.509 certificates for MPyC's own TLS: short-lived, each bound to one party.

MPyC requires the name ``MPyC party <pid>`` of a party that it dials; E3 requires it of callers,
too (`e3.party.admission`). The input is a signing request, so that the key stays on its host.
"""

import hashlib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from e3.authority import x509_builder
from e3.errors import AuthorityError
from e3.interfaces import SigningRequest
from e3.remote.tasks import in_thread

EARLIER_SECONDS = 3600
"""Certificates are valid from this long ago: hosts' clocks may be slow."""


@dataclass(frozen=True, kw_only=True)
class X509Authority:
    """Signs with a key that whoever deploys the stack holds; see `e3.interfaces.Authority`."""

    certificate: str
    key: str = field(repr=False)

    async def sign(self, requests: Sequence[SigningRequest]) -> Sequence[str]:
        """Return one certificate for each request, whose public key is a PEM signing request."""
        return [await in_thread(sign, self.certificate, self.key, request) for request in requests]


def make_authority(name: str, valid_seconds: int) -> tuple[str, str]:
    """Return certificate and private key of a new authority, in PEM."""
    key = Ed25519PrivateKey.generate()
    made = x509_builder.authority(name, key.public_key(), _terms(valid_seconds)).sign(key, None)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM).decode(), private.decode()


def sign(certificate: str, key: str, request: SigningRequest) -> str:
    """Return the certificate for ``request.name``, whatever name the signing request has.

    Raises `AuthorityError` if the request was not signed by the holder of its key.
    """
    authority = x509.load_pem_x509_certificate(certificate.encode())
    signer = load_pem_private_key(key.encode(), None)
    if not isinstance(signer, Ed25519PrivateKey):
        raise AuthorityError("the key of the X.509 authority is not an Ed25519 key; make a new one")
    try:
        asked = x509.load_pem_x509_csr(request.public_key.encode())
        possessed = asked.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        possessed = False
    if not possessed:
        raise AuthorityError(f"the signing request for {request.name!r} is not signed by its key")
    made = x509_builder.host(
        request.name,
        asked.public_key(),
        _terms(request.valid_seconds),
        issuer=x509_builder.common_name(authority.subject),
        issuer_key=signer.public_key(),
    ).sign(signer, None)
    return made.public_bytes(Encoding.PEM).decode()


def not_after(certificate: str) -> float:
    """Return when a certificate expires, as a Unix time."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp()


def fingerprint(certificate: str) -> str:
    """Return the SHA-256 of a certificate, in hexadecimal."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def _terms(valid_seconds: int) -> x509_builder.Terms:
    now = time.time()
    return x509_builder.Terms(
        serial=x509.random_serial_number(),
        not_before=now - EARLIER_SECONDS,
        not_after=now + valid_seconds,
    )
