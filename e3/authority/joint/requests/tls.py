"""X.509 certificates for MPyC's TLS; `e3.authority.x509_builder` has what is in them.

A host's key is one of Ed25519, which is what hosts make for a session. What is signed follows from
the request alone, as the request has the serial number and both times.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from e3.authority.joint.ed25519 import Point
from e3.authority.joint.requests.fields import (
    SIGNATURE_BYTES,
    Key,
    Name,
    Purpose,
    RequestError,
    Signable,
    shown,
    verify,
)

if TYPE_CHECKING:
    from cryptography import x509

Serial = Annotated[str, msgspec.Meta(pattern=r"\A[1-9a-f][0-9a-f]{0,38}\Z")]
"""A serial number in hexadecimal; RFC 5280 (4.1.2.2) has at most 20 bytes, with the sign."""


class TlsAuthority(Signable, frozen=True, kw_only=True, tag="tls-authority"):
    """The authority's own certificate."""

    purpose: ClassVar[Purpose] = "tls"

    name: Name
    serial: Serial

    def to_be_signed(self, public_key: Point) -> bytes:
        """Return what the authority with this key signs for its own certificate."""
        return _certificate(self, public_key, bytes(SIGNATURE_BYTES)).tbs_certificate_bytes

    def assemble(self, public_key: Point, signature: bytes) -> str:
        """Return the certificate in PEM; `RequestError` if the signature is wrong."""
        return _assemble(self, public_key, signature)


class TlsHost(Signable, frozen=True, kw_only=True, tag="tls-host"):
    """A party's certificate: this Ed25519 key is that name's. ``issuer`` names the authority."""

    purpose: ClassVar[Purpose] = "tls"

    name: Name
    serial: Serial
    public_key: Key
    issuer: Name

    def to_be_signed(self, public_key: Point) -> bytes:
        """Return what the authority signs for this party."""
        return _certificate(self, public_key, bytes(SIGNATURE_BYTES)).tbs_certificate_bytes

    def assemble(self, public_key: Point, signature: bytes) -> str:
        """Return the certificate in PEM; `RequestError` if the signature is wrong."""
        return _assemble(self, public_key, signature)


def public_key_of(text: str) -> bytes:
    """Return the 32 bytes of the Ed25519 key that signed this PEM certificate signing request."""
    from cryptography import x509  # noqa: PLC0415 -- most ceremonies need no cryptography
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey,
    )

    try:
        asked = x509.load_pem_x509_csr(text.encode())
        key, possessed = asked.public_key(), asked.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RequestError(f"public_key: {shown(text)} must be a signing request") from error
    if not possessed or not isinstance(key, Ed25519PublicKey):
        raise RequestError("public_key: the signing request must be signed by its Ed25519 key")
    return key.public_bytes_raw()


def _assemble(request: TlsAuthority | TlsHost, public_key: Point, signature: bytes) -> str:
    verify(public_key, request.to_be_signed(public_key), signature)
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    made = _certificate(request, public_key, signature)
    return made.public_bytes(Encoding.PEM).decode()


def _certificate(
    request: TlsAuthority | TlsHost, public_key: Point, signature: bytes
) -> "x509.Certificate":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey,
    )

    from e3.authority import x509_builder  # noqa: PLC0415 -- most ceremonies need no cryptography

    key = Ed25519PublicKey.from_public_bytes(public_key)
    terms = x509_builder.Terms(
        serial=int(request.serial, 16),
        not_before=request.not_before,
        not_after=request.not_after,
    )
    if isinstance(request, TlsAuthority):
        builder = x509_builder.authority(request.name, key, terms)
    else:
        subject = Ed25519PublicKey.from_public_bytes(request.public_key)
        builder = x509_builder.host(
            request.name, subject, terms, issuer=request.issuer, issuer_key=key
        )
    return x509_builder.signed_elsewhere(builder, signature)
