"""The X.509 certificates of MPyC's TLS, before they are signed (RFC 5280, RFC 8410)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The serial number of a certificate, and the Unix times from when until when it is valid."""

    serial: int
    not_before: float
    not_after: float


def authority(name: str, key: Ed25519PublicKey, terms: Terms) -> x509.CertificateBuilder:
    """Return the certificate of an authority, which signs for parties but for no authority."""
    return (
        _builder(name, name, terms)
        .public_key(key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def host(
    name: str,
    key: CertificatePublicKeyTypes,
    terms: Terms,
    *,
    issuer: str,
    issuer_key: Ed25519PublicKey,
) -> x509.CertificateBuilder:
    """Return the certificate of a party's ``key``, for both ends of a connection."""
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    issuer_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    return (
        _builder(name, issuer, terms)
        .public_key(key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(issuer_identifier, critical=False)
    )


def signed_elsewhere(builder: x509.CertificateBuilder, signature: bytes) -> x509.Certificate:
    """Return the certificate with an Ed25519 signature that somebody made; it is not verified."""
    return builder.sign(_Elsewhere(signature), None)


def named(name: str) -> x509.Name:
    """Return a subject with this common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def common_name(name: x509.Name) -> str:
    """Return the common name of a subject."""
    return str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _builder(subject: str, issuer: str, terms: Terms) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .serial_number(terms.serial)
        .not_valid_before(datetime.fromtimestamp(terms.not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(terms.not_after, UTC))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
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


@dataclass(frozen=True)
class _Elsewhere(Ed25519PrivateKey):
    """Stands for a key that others hold, and gives the signature that they made."""

    signature: bytes = field(repr=False)

    def sign(self, data: object) -> bytes:
        del data
        return self.signature

    def public_key(self) -> NoReturn:
        raise NotImplementedError

    def private_bytes(self, encoding: object, format: object, encryption: object) -> NoReturn:  # noqa: A002 -- the interface's name
        raise NotImplementedError

    def private_bytes_raw(self) -> NoReturn:
        raise NotImplementedError

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self
