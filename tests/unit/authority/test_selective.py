"""SD-JWT: a credential of which its holder shows chosen claims, and a verifier sees no others."""

import asyncio
import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK
from sd_jwt.verifier import SDJWTVerifier

from e3.authority.credential_check import (
    CredentialError,
    ExpiredError,
    ForgedError,
    MalformedError,
    RevokedError,
    StatusError,
    SubjectError,
    Verified,
    claims_of,
    shown,
    verify,
)
from e3.authority.credentials import Signer, asked, issue, selective
from e3.authority.joint.requests import RequestError, SelectiveCredential, Status
from e3.authority.joint.requests.selective import digest, disclosure
from tests.unit.authority.test_credentials import (
    CLAIMS,
    ISSUER,
    NOW,
    SIGNERS,
    SUBJECT,
    URL,
    did,
    in_base64,
    jwk,
    part,
    published,
    unbase64,
)

pytestmark = pytest.mark.unit

JOINT = SIGNERS["joint"]


def issued(signer: Signer = JOINT, status: Status | None = None) -> str:
    request = selective(asked(SUBJECT, CLAIMS, status=status, now=NOW))
    return asyncio.run(issue(signer, request))


def check(text: str, revocations: str = "", now: float = NOW) -> Verified:
    return verify(text, issuer=ISSUER, subject=SUBJECT, revocations=revocations, now=now)


WHOLE = issued()
ROLE = shown(WHOLE, {"role"})
REVOCABLE = issued(status=Status(url=URL, index=77))


@pytest.mark.parametrize("signer", SIGNERS.values(), ids=SIGNERS)
def test_a_holder_shows_the_claims_that_it_chooses(signer: Signer) -> None:
    text = issued(signer)
    for names in ([], ["role"], ["project"], ["role", "project"]):
        found = verify(shown(text, names), issuer=did(signer), subject=SUBJECT, now=NOW)
        assert found.claims == {name: CLAIMS[name] for name in names}


def test_what_is_not_shown_cannot_be_read() -> None:
    said = "".join(
        unbase64(piece).decode(errors="replace") for piece in ROLE.replace("~", ".").split(".")
    )
    assert "auditor" in said
    assert "project" not in said
    assert "a stack" not in said


def test_a_claim_is_not_found_by_trying_values() -> None:
    """A digest without a salt would tell it to whoever guesses."""
    hidden = set(part(WHOLE, 1)["credentialSubject"]["_sd"])
    assert len(hidden) == len(CLAIMS)
    guesses = {digest(disclosure("A" * 22, name, value)) for name, value in CLAIMS.items()}
    assert not hidden & guesses
    again = set(part(issued(), 1)["credentialSubject"]["_sd"])
    assert not hidden & again


def test_a_credential_is_one_of_the_standards() -> None:
    assert part(WHOLE, 0)["typ"] == "vc+sd-jwt"
    said = part(WHOLE, 1)
    assert said["_sd_alg"] == "sha-256"
    assert said["credentialSubject"]["id"] == said["sub"] == SUBJECT
    assert said["credentialSubject"]["_sd"] == sorted(said["credentialSubject"]["_sd"])


@pytest.mark.parametrize("names", [[], ["role"], ["role", "project"]])
def test_another_library_reads_what_is_shown(names: list[str]) -> None:
    """That of the standard's authors."""
    verifier = SDJWTVerifier(shown(WHOLE, names), lambda *_: JWK(**jwk(JOINT)))
    subject = verifier.get_verified_payload()["credentialSubject"]
    assert subject == {"id": SUBJECT, **{name: CLAIMS[name] for name in names}}


def test_nobody_else_shows_it() -> None:
    with pytest.raises(SubjectError):
        verify(ROLE, issuer=ISSUER, subject=ISSUER, now=NOW)


def test_another_authority_s_is_refused() -> None:
    with pytest.raises(ForgedError):
        verify(issued(SIGNERS["local"]), issuer=ISSUER, subject=SUBJECT, now=NOW)


def test_a_revoked_one_is_refused_and_so_is_one_without_the_list() -> None:
    text = shown(REVOCABLE, {"role"})
    assert check(text, published([5])).claims == {"role": "auditor"}
    with pytest.raises(RevokedError):
        check(text, published([77]))
    with pytest.raises(StatusError):
        check(text)


def test_it_ends() -> None:
    with pytest.raises(ExpiredError):
        check(ROLE, now=NOW + 3600 + 61)


def disclosures(text: str) -> list[str]:
    return text.split("~")[1:-1]


def forged(name: str, value: str) -> str:
    return f"{WHOLE.split('~')[0]}~{disclosure('B' * 22, name, value)}~"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param(forged("role", "chair"), ForgedError, id="another claim"),
        pytest.param(f"{ROLE}{disclosures(ROLE)[0]}~", ForgedError, id="a claim twice"),
        pytest.param(f"{ROLE}e30.e30.AA", MalformedError, id="a key binding"),
        pytest.param(f"{ROLE}~", MalformedError, id="an empty disclosure"),
        pytest.param(ROLE[:-1], MalformedError, id="no last separator"),
        pytest.param(forged("id", "did:key:z"), ForgedError, id="the subject"),
        pytest.param(forged("_sd", "x"), MalformedError, id="a name of the standard"),
        pytest.param(
            f"{WHOLE.split('~')[0]}~{in_base64(b'[1, 2, 3]')}~", MalformedError, id="no texts"
        ),
        pytest.param("~" * 1000, MalformedError, id="separators alone"),
    ],
)
def test_what_the_authority_did_not_sign_is_refused(text: str, kind: type[CredentialError]) -> None:
    with pytest.raises(kind):
        check(text)


def test_spaces_in_a_disclosure_make_another_one() -> None:
    salt, name, value = json.loads(unbase64(disclosures(ROLE)[0]))
    spaced = in_base64(json.dumps([salt, name, value]).encode())
    with pytest.raises(MalformedError):
        check(f"{WHOLE.split('~')[0]}~{spaced}~")


@given(st.integers(0, len(ROLE) - 1), st.characters(codec="utf-8"))
@example(len(ROLE) - 1, "B")
@example(0, "~")
def test_every_changed_character_is_refused(at: int, character: str) -> None:
    changed = f"{ROLE[:at]}{character}{ROLE[at + 1 :]}"
    if changed != ROLE:
        with pytest.raises(CredentialError) as refused:
            check(changed)
        assert len(str(refused.value)) < 1000


def resigned(change: Callable[[dict[str, Any]], object]) -> str:
    """Return a credential of the right key that says something else than E3 does."""
    said = part(WHOLE, 1)
    change(said)
    text = base64.urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode())
    signed = f"{WHOLE.split('.')[0]}.{text.rstrip(b'=').decode()}"
    signature = JOINT.key.sign(signed.encode())  # type: ignore[attr-defined]  # the joint one
    return f"{signed}.{in_base64(signature)}~"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda said: said.update(sub=ISSUER), id="two subjects"),
        pytest.param(lambda said: said.update(_sd_alg="md5"), id="another hash"),
        pytest.param(lambda said: said["credentialSubject"].update(role="x"), id="a plain claim"),
        pytest.param(lambda said: said.update(nbf=10**30), id="a time beyond all"),
        pytest.param(lambda said: said.update({"id": "urn:uuid:\n"}), id="no UUID"),
        pytest.param(lambda said: said.update(aud="x"), id="a member that is not known"),
    ],
)
def test_what_e3_does_not_issue_is_refused_although_it_is_signed(
    change: Callable[[dict[str, Any]], object],
) -> None:
    with pytest.raises(MalformedError):
        check(resigned(change))


def test_a_holder_reads_its_own_credential() -> None:
    assert claims_of(WHOLE) == (ISSUER, CLAIMS)
    with pytest.raises(MalformedError):
        claims_of("no credential")


@pytest.mark.parametrize(
    "salts",
    [
        {},
        {"role": "A" * 22},
        {"role": "A" * 22, "project": "A" * 22},
        {"role": "x", "project": "y"},
    ],
    ids=["none", "one", "the same", "short ones"],
)
@pytest.mark.parametrize("signer", SIGNERS.values(), ids=SIGNERS)
def test_each_claim_has_a_salt_of_its_own(signer: Signer, salts: dict[str, str]) -> None:
    good = selective(asked(SUBJECT, CLAIMS, now=NOW))
    with pytest.raises(RequestError):
        asyncio.run(issue(signer, unchecked(good, salts)))


def unchecked(request: SelectiveCredential, salts: dict[str, str]) -> SelectiveCredential:
    """Return a request with these salts, as somebody else's program may make it."""
    changed = copy.copy(request)
    msgspec.structs.force_setattr(changed, "salts", salts)
    return changed
