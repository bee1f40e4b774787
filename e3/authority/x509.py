"""X.509 certificates for MPyC's own TLS: short-lived, each bound to one party.

MPyC requires the name ``MPyC party <pid>`` of a party that it dials; E3 requires it of callers,
too (`e3.party.admission`). The input is a signing request, so that the key stays on its host.
"""

import hashlib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from e3.errors import AuthorityError
from e3.interfaces import SigningRequest
from e3.remote.tasks import in_thread

EARLIER = timedelta(hours=1)
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
    subject = named(name)
    builder = certificate_builder(subject, subject, timedelta(seconds=valid_seconds))
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        builder.public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, None)
    )
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
    public = asked.public_key()
    valid = timedelta(seconds=request.valid_seconds)
    issuer_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    made = (
        certificate_builder(named(request.name), authority.subject, valid)
        .public_key(public)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(request.name)]), critical=False)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(issuer_identifier, critical=False)
        .sign(signer, None)
    )
    return made.public_bytes(Encoding.PEM).decode()


def not_after(certificate: str) -> float:
    """Return when a certificate expires, as a Unix time."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp()


def fingerprint(certificate: str) -> str:
    """Return the SHA-256 of a certificate, in hexadecimal."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def named(name: str) -> x509.Name:
    """Return a subject with this common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate_builder(
    subject: x509.Name, issuer: x509.Name, valid: timedelta
) -> x509.CertificateBuilder:
    """Return a builder that still lacks key, extensions and signature."""
    now = datetime.fromtimestamp(time.time(), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + valid)
    )


def usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what a key may do: sign certificates, or authenticate its holder."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
