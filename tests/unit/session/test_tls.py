"""MPyC's own TLS in sessions: certificates of the stack's authority, each bound to its party."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import CertificateSigningRequestBuilder, load_pem_x509_certificate

from e3.authority import x509
from e3.authority.x509_builder import named
from e3.errors import AuthorityError, ProgramError
from e3.experiment import Rules
from e3.interfaces import Authority, SigningRequest
from e3.session.plan import Plan
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict
from tests import authorities
from tests.authorities import Forging, Swapping
from tests.sessions import Bench, joined

pytestmark = pytest.mark.unit

DEMOS = Path(__file__).parents[3] / "demos"


@pytest.fixture(scope="module")
def authority() -> x509.X509Authority:
    return authorities.make()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def run(bench: Bench, plan: Plan, authority: Authority | None) -> SessionResult:
    result = asyncio.run(
        run_session(
            SessionSpec(
                plan=plan,
                hosts=bench.hosts,
                overlay="plain",
                sessions=bench.sessions,
                deadline_seconds=60,
                rules=Rules(tls=True),
                authority=authority,
            )
        )
    )
    assert bench.leftovers() == []
    return result


SHOW = """
    import os, ssl
    links = [peer.protocol.transport for peer in mpc.parties if peer.pid != mpc.pid]
    known = [link.get_extra_info("sslcontext").cert_store_stats()["x509_ca"] for link in links]
    shown = [link.get_extra_info("ssl_object").version() for link in links]
    names = [dict(part[0] for part in link.get_extra_info("peercert")["subject"]) for link in links]
    files = [f".config/{name}" for name in sorted(os.listdir(".config"))]
    modes = [oct(os.stat(file).st_mode & 0o777) for file in files]
    print(mpc.pid, *shown, *known, *(name["commonName"] for name in names), *modes, sep="|")
"""


def test_parties_connect_by_certificates_of_their_own(
    bench: Bench, authority: x509.X509Authority
) -> None:
    result = run(bench, bench.plan(bench.write(joined(SHOW))), authority)
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert result.identity == "certificates"
    assert result.parties[1].output == (
        "1|TLSv1.3|TLSv1.3|1|1|MPyC party 0|MPyC party 2|0o644|0o644|0o600\n"
    )
    assert "All 3 parties connected via SSL." in bench.log(result, 2)


def test_without_tls_plain_addresses_prove_nothing(bench: Bench) -> None:
    result = bench.run(DEMOS / "helloworld.py")
    assert result.identity == "nothing"
    assert result.to_properties()["identity"] == "nothing"


def test_a_caller_with_another_partys_certificate_is_refused(
    bench: Bench, authority: x509.X509Authority
) -> None:
    swapping = Swapping(inner=authority, pid=0, other=2)
    result = run(bench, bench.plan(DEMOS / "helloworld.py"), swapping)
    assert result.verdict is Verdict.INCOMPATIBLE
    assert result.reason.startswith(
        "party 0 (local-0) claims to be party 0, and its certificate is for 'MPyC party 2', as "
    )


def test_a_party_that_would_refuse_its_own_certificate_does_not_start(
    bench: Bench, authority: x509.X509Authority
) -> None:
    forging = Forging(inner=authority, pid=1)
    result = run(bench, bench.plan(DEMOS / "helloworld.py"), forging)
    assert result.verdict is Verdict.PARTY_FAILED
    assert result.reason.startswith(
        "party 1 (local-1) did not start: its certificate is not signed by the authority that"
    )
    assert all(not party.output for party in result.parties)


def test_ssl_is_asked_for_by_its_key_alone(bench: Bench) -> None:
    with pytest.raises(ProgramError, match="set e3:tls: true"):
        bench.plan(DEMOS / "helloworld.py", "--ssl")


def test_a_certificate_names_one_party_and_is_short_lived(
    authority: x509.X509Authority,
) -> None:
    asked = (
        CertificateSigningRequestBuilder()
        .subject_name(named("somebody else"))
        .sign(Ed25519PrivateKey.generate(), None)
    )
    request = SigningRequest(
        name="MPyC party 4",
        address="",
        public_key=asked.public_bytes(Encoding.PEM).decode(),
        groups=(),
        valid_seconds=7200,
    )
    (text,) = asyncio.run(authority.sign([request]))
    certificate = load_pem_x509_certificate(text.encode())
    assert certificate.subject == named("MPyC party 4")
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life == timedelta(hours=3)
    certificate.verify_directly_issued_by(load_pem_x509_certificate(authority.certificate.encode()))


def test_a_request_that_is_not_signed_by_its_key_is_refused(
    authority: x509.X509Authority,
) -> None:
    request = SigningRequest(
        name="MPyC party 0", address="", public_key="no request", groups=(), valid_seconds=60
    )
    with pytest.raises(AuthorityError, match="MPyC party 0"):
        asyncio.run(authority.sign([request]))
