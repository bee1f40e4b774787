"""What OpenVPN's hub learns of members: the certificate of each, which is for its own key."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from e3.errors import OverlayError
from e3.overlays.openvpn import identity

pytestmark = pytest.mark.unit


def certificate(*subjects: str) -> str:
    """Return a certificate; ``{}`` in a subject stands for the digest of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    hashed = hashes.Hash(hashes.SHA256())
    hashed.update(public)
    digest = hashed.finalize().hex()[:16]
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, one.format(digest)) for one in subjects]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(x509.Name(names), x509.Name(names))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def test_a_certificate_for_the_host_and_its_key_is_taken() -> None:
    pem = certificate("ams3-0-{}")
    known = identity("ams3-0", f"a line before\n{pem}")
    assert known.subject.startswith("ams3-0-")
    assert known.certificate == pem
    fingerprint = x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256())
    assert bytes.fromhex(known.fingerprint.replace(":", "")) == fingerprint


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(certificate("ams3-1-{}"), id="of another host"),
        pytest.param(certificate("ams3-0-0123456789abcdef"), id="for another key"),
        pytest.param(certificate("ams3-0-{}", "ams3-0-{}"), id="with two names"),
        pytest.param(certificate(), id="without a name"),
        pytest.param("", id="nothing"),
        pytest.param("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", id="broken"),
        pytest.param("\ud800", id="not UTF-8"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_the_host(pem: str) -> None:
    with pytest.raises(OverlayError, match="ams3-0"):
        identity("ams3-0", pem)
