"""Certificates of X.509 that a joint key signs, judged by OpenSSL and Python's ``ssl``."""

import ssl
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as make_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from e3.authority import x509_builder
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.requests import RequestError, TlsAuthority, TlsHost
from e3.authority.joint.requests.tls import public_key_of
from e3.party.admission import certified
from tests.holders import joint_key
from tests.mutations import bits_of_pem, flipped, flipped_pem

NOW = int(time.time())
KEY = joint_key()
HOST_KEY = Ed25519PrivateKey.generate()
AUTHORITY = TlsAuthority(
    not_before=NOW - 60, not_after=NOW + 86_400, name="joint authority", serial="9" * 39
)
HOST = TlsHost(
    not_before=NOW - 60,
    not_after=NOW + 3600,
    name=certified(1),
    serial="1",
    public_key=HOST_KEY.public_key().public_bytes_raw(),
    issuer="joint authority",
)
CA, LEAF = KEY.certify(AUTHORITY), KEY.certify(HOST)


def openssl(folder: Path, authority: str, leaf: str) -> subprocess.CompletedProcess[str]:
    (folder / "ca").write_text(authority)
    (folder / "leaf").write_text(leaf)
    command = ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslserver"]
    command += ["-verify_hostname", certified(1), "-CAfile", str(folder / "ca")]
    return subprocess.run(
        [*command, str(folder / "leaf")], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("x509")


@pytest.mark.parametrize("request_", [AUTHORITY, HOST], ids=["authority", "host"])
def test_certificates_equal_those_that_cryptography_signs(request_: TlsAuthority | TlsHost) -> None:
    ordinary = Ed25519PrivateKey.generate()
    key = Point(ordinary.public_key().public_bytes_raw())
    terms = x509_builder.Terms(
        serial=int(request_.serial, 16),
        not_before=request_.not_before,
        not_after=request_.not_after,
    )
    if isinstance(request_, TlsHost):
        builder = x509_builder.host(
            request_.name,
            HOST_KEY.public_key(),
            terms,
            issuer=request_.issuer,
            issuer_key=ordinary.public_key(),
        )
    else:
        builder = x509_builder.authority(request_.name, ordinary.public_key(), terms)
    made = builder.sign(ordinary, None)
    assert request_.to_be_signed(key) == made.tbs_certificate_bytes
    assert request_.assemble(key, made.signature) == made.public_bytes(Encoding.PEM).decode()


def test_openssl_accepts_what_a_joint_key_signed(tmp_path: Path) -> None:
    done = openssl(tmp_path, CA, LEAF)
    assert done.returncode == 0, done.stderr
    root, leaf = (x509.load_pem_x509_certificate(each.encode()) for each in (CA, LEAF))
    leaf.verify_directly_issued_by(root)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), which=st.sampled_from(["ca", "leaf"]))
def test_openssl_refuses_every_changed_bit(data: st.DataObject, which: str, shared: Path) -> None:
    files = {"ca": CA, "leaf": LEAF}
    bit = data.draw(st.integers(0, bits_of_pem(files[which]) - 1))
    changed = {**files, which: flipped_pem(files[which], bit)}
    assert openssl(shared, changed["ca"], changed["leaf"]).returncode != 0


def shake_hands(folder: Path, certificate: str) -> None:
    """Connect two ends in memory, both with ``certificate``, as parties of MPyC do."""
    private = HOST_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "both").write_bytes(certificate.encode() + private)
    contexts = []
    for purpose in (ssl.Purpose.SERVER_AUTH, ssl.Purpose.CLIENT_AUTH):
        context = ssl.create_default_context(purpose, cadata=CA)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(folder / "both")
        contexts.append(context)
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts[0].wrap_bio(one, other, server_hostname=certified(1))
    server = contexts[1].wrap_bio(other, one, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for end in {client, server} - done:
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                continue
    assert len(done) == 2


def test_python_shakes_hands_by_such_certificates(tmp_path: Path) -> None:
    shake_hands(tmp_path, LEAF)


@pytest.mark.parametrize("place", ["first", "middle", "signature"])
def test_python_refuses_a_changed_bit(tmp_path: Path, place: str) -> None:
    bits = bits_of_pem(LEAF)
    bit = {"first": 40, "middle": bits // 2, "signature": bits - 9}[place]
    with pytest.raises(ssl.SSLError):
        shake_hands(tmp_path, flipped_pem(LEAF, bit))


def test_a_signature_that_is_not_the_authoritys_makes_no_certificate() -> None:
    for request in (AUTHORITY, HOST):
        signature = KEY.sign(request.to_be_signed(KEY.public_key))
        with pytest.raises(RequestError, match="not the authority's"):
            request.assemble(KEY.public_key, flipped(signature, 3))
        with pytest.raises(RequestError, match="not the authority's"):
            request.assemble(joint_key().public_key, signature)


def asked(key: Ed25519PrivateKey | None = None) -> str:
    """Return a signing request for a key; of another kind than Ed25519 by default."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    made = builder.sign(key, None) if key else builder.sign(make_ec_key(SECP256R1()), SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def test_the_key_of_a_signing_request_is_read_if_it_signed() -> None:
    assert public_key_of(asked(HOST_KEY)) == HOST.public_key
    changed = flipped_pem(asked(HOST_KEY), bits_of_pem(asked(HOST_KEY)) - 9)
    for text in (asked(), changed, "", LEAF):
        with pytest.raises(RequestError, match="public_key"):
            public_key_of(text)
