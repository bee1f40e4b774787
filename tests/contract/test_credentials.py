"""Credentials of a joint authority with holders on hosts of a lab: issued, listed, revoked."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from e3.access import host_to_properties
from e3.authority.credential_check import RevokedError, verify
from e3.authority.joint.policy import ANYBODY, Scope
from e3.ceremonies import credentials
from e3.ceremonies.authority import Wanted, establish
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.didcomm.errors import DidcommError
from e3.errors import AuthorityError
from tests.labs import running

pytestmark = pytest.mark.contract

NAMES = ("ams3-0", "ams3-1", "ams3-2")
STACK = "a-stack"
HOUR = 3600
SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
SCOPE = Scope(
    names=(ANYBODY,),
    most_seconds=credentials.LONGEST_SECONDS,
    claims={"role": ("auditor",), "note": ()},
    status_url=credentials.status_url(STACK),
)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """A key for credentials, of which any two of three hosts sign, as a stack's state has it."""
    folder = tmp_path_factory.mktemp("credentials")
    with running(folder / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        handles = lab.add_hosts([(name, "ams3") for name in NAMES])
        hosts = [handle.host() for handle in handles]
        wanted = Wanted(
            purpose=credentials.PURPOSE,
            threshold=2,
            holders=NAMES,
            scope=SCOPE,
            refresh_seconds=HOUR,
        )
        made = asyncio.run(establish(folder / "authority", wanted, hosts, None))
        assert made.certificate is None
        key = made.header.public_key
        yield {
            "certificate": credentials.key_text(key),
            "joint": {
                "purpose": credentials.PURPOSE,
                "publicKey": key.hex(),
                "hosts": [host_to_properties(host) for host in hosts],
                "folder": str(folder / "authority"),
            },
        }


def issue(given: Mapping[str, Any], **claims: str) -> tuple[credentials.Issued, str]:
    return asyncio.run(credentials.issue(given, STACK, SUBJECT, claims, HOUR))


def revoke(given: Mapping[str, Any], *names: str) -> str:
    return asyncio.run(credentials.revocations(given, STACK, names))


def test_a_credential_is_issued_listed_and_revoked(given: Mapping[str, Any]) -> None:
    made, text = issue(given, role="auditor", note="until the end of the year")
    other, others_text = issue(given, role="auditor")
    issuer = given["certificate"]
    said = verify(text, issuer=issuer, subject=SUBJECT, revocations=revoke(given))
    assert said.claims == {"role": "auditor", "note": "until the end of the year"}
    assert [each.identifier for each in credentials.listed(given)] == [
        made.identifier,
        other.identifier,
    ]
    revoked = revoke(given, made.identifier)
    with pytest.raises(RevokedError, match=made.identifier):
        verify(text, issuer=issuer, subject=SUBJECT, revocations=revoked)
    verify(others_text, issuer=issuer, subject=SUBJECT, revocations=revoked)
    assert [each.revoked for each in credentials.listed(given)] == [True, False]


def test_what_the_holders_did_not_agree_to_claim_is_refused_and_not_listed(
    given: Mapping[str, Any],
) -> None:
    before = credentials.listed(given)
    for claims, reason in (({"role": "root"}, "'root' is none of"), ({"admin": "1"}, "'admin'")):
        with pytest.raises(CeremonyFailedError, match=reason) as refused:
            issue(given, **claims)
        assert refused.value.verdict is CeremonyVerdict.REFUSED
    with pytest.raises(DidcommError, match="mallory"):
        asyncio.run(credentials.issue(given, STACK, "mallory", {"role": "auditor"}, HOUR))
    assert credentials.listed(given) == before


def test_a_revoked_credential_is_not_made_valid_again(given: Mapping[str, Any]) -> None:
    """The register of the machine that deploys is lost; the holders remember, and tell which."""
    made, text = issue(given, role="auditor")
    revoke(given, made.identifier)
    Path(given["joint"]["folder"], credentials.REGISTER).unlink()
    with pytest.raises(CeremonyFailedError, match=r"\(revoked\): .* were revoked") as refused:
        revoke(given)
    assert refused.value.verdict is CeremonyVerdict.REFUSED
    places = re.findall(r"\d+", str(refused.value).partition("[")[2].partition("]")[0])
    assert str(made.place) in places
    known = revoke(given, *places)
    with pytest.raises(RevokedError):
        verify(text, issuer=given["certificate"], subject=SUBJECT, revocations=known)


def test_what_is_not_there_is_not_revoked(given: Mapping[str, Any]) -> None:
    for name in ("x", "131072", "-1", ""):
        with pytest.raises(AuthorityError, match=f"no credential '{name}'"):
            revoke(given, name)


def test_a_damaged_register_is_named(given: Mapping[str, Any]) -> None:
    register = Path(given["joint"]["folder"], credentials.REGISTER)
    kept = register.read_bytes()
    register.write_bytes(b"{")
    with pytest.raises(AuthorityError, match=r"credentials\.json is damaged"):
        credentials.listed(given)
    register.write_bytes(kept)
