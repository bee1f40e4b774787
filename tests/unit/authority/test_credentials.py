"""Credentials: issued by a joint key and by one key, verified by E3 and by other libraries."""

import asyncio
import base64
import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import OKPKey
from jwcrypto.jwk import JWK
from jwcrypto.jws import InvalidJWSSignature
from jwcrypto.jwt import JWT

from e3.authority.credential_check import (
    CredentialError,
    EarlyError,
    ExpiredError,
    ForgedError,
    MalformedError,
    RevokedError,
    StatusError,
    SubjectError,
    Verified,
    verify,
)
from e3.authority.credentials import LocalSigner, Signer, asked, issue, place, publish
from e3.authority.joint import requests
from e3.authority.joint.requests import Credential, Request, RequestError, Status
from e3.authority.joint.requests.credential import LIST_BITS
from e3.didcomm.did import key_did
from tests.holders import JointKey, joint_key

NOW = 1_800_000_000
URL = "urn:e3:status:a-stack"
SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
CLAIMS = {"role": "auditor", "project": "a stack"}


@dataclass(frozen=True)
class JointSigner:
    """The holders of a joint key, in this process."""

    key: JointKey

    @property
    def public_key(self) -> bytes:
        return self.key.public_key

    async def sign(self, asked: Sequence[Request]) -> Sequence[str]:
        return [self.key.certify(requests.decode(requests.encode(each))) for each in asked]


SIGNERS: dict[str, Signer] = {
    "joint": JointSigner(joint_key()),
    "local": LocalSigner(key=bytes(range(32))),
}
JOINT = SIGNERS["joint"]


def did(signer: Signer) -> str:
    return key_did(Ed25519PublicKey.from_public_bytes(signer.public_key))


ISSUER = did(JOINT)


def issued(signer: Signer = JOINT, status: Status | None = None) -> str:
    return asyncio.run(issue(signer, asked(SUBJECT, CLAIMS, status=status, now=NOW)))


def published(revoked: Sequence[int], url: str = URL, now: float = NOW) -> str:
    return asyncio.run(publish(JOINT, url, revoked, now=now))


def check(text: str, revocations: str = "", now: float = NOW) -> Verified:
    return verify(text, issuer=ISSUER, subject=SUBJECT, revocations=revocations, now=now)


PLAIN = issued()
REVOCABLE = issued(status=Status(url=URL, index=77))


@pytest.mark.parametrize("signer", SIGNERS.values(), ids=SIGNERS)
def test_a_credential_says_what_it_was_issued_for(signer: Signer) -> None:
    found = verify(issued(signer), issuer=did(signer), subject=SUBJECT, now=NOW)
    assert (found.subject, found.claims, found.issuer) == (SUBJECT, CLAIMS, did(signer))
    assert found.not_after == NOW + 3600


@pytest.mark.parametrize(
    ("now", "kind"),
    [
        pytest.param(NOW + 3600 + 61, ExpiredError, id="after its end"),
        pytest.param(NOW - 61, EarlyError, id="before its beginning"),
        pytest.param(NOW + 86_400, ExpiredError, id="a day later"),
        pytest.param(NOW - 86_400, EarlyError, id="a day earlier"),
    ],
)
def test_a_credential_is_valid_at_its_time_alone(now: float, kind: type[CredentialError]) -> None:
    with pytest.raises(kind):
        check(PLAIN, now=now)


def test_clocks_may_differ_by_a_minute() -> None:
    for now in (NOW - 59, NOW + 3600 + 59):
        check(PLAIN, now=now)


def test_nobody_else_shows_a_credential() -> None:
    with pytest.raises(SubjectError, match="did:key:z6Mkp"):
        verify(PLAIN, issuer=ISSUER, subject=ISSUER, now=NOW)


def test_another_authority_s_credential_is_refused() -> None:
    with pytest.raises(ForgedError, match="not of"):
        verify(issued(SIGNERS["local"]), issuer=ISSUER, subject=SUBJECT, now=NOW)
    header, payload, _ = PLAIN.split(".")
    *_, signature = issued().split(".")
    with pytest.raises(ForgedError, match="signature"):
        check(f"{header}.{payload}.{signature}")


def test_a_revoked_credential_is_refused() -> None:
    assert check(REVOCABLE, published([5, 76, 78])).claims == CLAIMS
    with pytest.raises(RevokedError):
        check(REVOCABLE, published([77]))


def test_without_the_current_list_nobody_knows_whether_it_is_revoked() -> None:
    with pytest.raises(StatusError, match="needed"):
        check(REVOCABLE)
    with pytest.raises(StatusError, match="urn:e3:status:other"):
        check(REVOCABLE, published([], "urn:e3:status:other"))
    with pytest.raises(ExpiredError, match="list"):
        check(REVOCABLE, published([], now=NOW - 3700))
    with pytest.raises(MalformedError):
        check(REVOCABLE, PLAIN)


def test_a_list_is_no_credential() -> None:
    with pytest.raises(MalformedError):
        check(published([]))


@pytest.mark.parametrize("revoked", [(), (0,), (LIST_BITS - 1,), (0, 7, 8, 9, 131_071)])
def test_a_list_is_a_bit_string_in_gzip(revoked: tuple[int, ...]) -> None:
    """Read by Python's gzip; place 0 is the highest bit of the first byte."""
    payload = part(published(revoked), 1)
    encoded = payload["credentialSubject"]["encodedList"]
    assert encoded[0] == "u"
    bits = gzip.decompress(unbase64(encoded[1:]))
    assert len(bits) == LIST_BITS // 8
    found = "".join(f"{byte:08b}" for byte in bits)
    assert tuple(place for place, bit in enumerate(found) if bit == "1") == revoked


def test_a_place_is_one_that_is_free() -> None:
    taken = frozenset(range(LIST_BITS)) - {4242}
    assert place(URL, taken) == Status(url=URL, index=4242)


def test_a_credential_is_one_of_the_standard() -> None:
    assert part(REVOCABLE, 0) == {
        "alg": "EdDSA",
        "typ": "vc+jwt",
        "kid": f"{ISSUER}#{ISSUER.removeprefix('did:key:')}",
    }
    said = part(REVOCABLE, 1)
    assert said["@context"][0] == "https://www.w3.org/ns/credentials/v2"
    assert said["type"] == ["VerifiableCredential"]
    assert said["validFrom"] == "2027-01-15T08:00:00Z"
    assert said["credentialSubject"] == {"id": SUBJECT, **CLAIMS}
    assert said["credentialStatus"] == {
        "id": f"{URL}#77",
        "type": "BitstringStatusListEntry",
        "statusPurpose": "revocation",
        "statusListIndex": "77",
        "statusListCredential": URL,
    }
    assert (said["iss"], said["sub"], said["jti"]) == (ISSUER, SUBJECT, said["id"])
    assert (said["nbf"], said["exp"]) == (NOW, NOW + 3600)


def read_by_joserfc(text: str, algorithm: str) -> dict[str, Any]:
    token = joserfc_jwt.decode(text, OKPKey.import_key(jwk(JOINT)), algorithms=[algorithm])
    joserfc_jwt.JWTClaimsRegistry(exp={"essential": True}).validate(token.claims)
    return dict(token.claims)


def read_by_jwcrypto(text: str, algorithm: str) -> dict[str, Any]:
    token = JWT(algs=[algorithm], check_claims={"iss": ISSUER, "sub": SUBJECT, "exp": None})
    token.deserialize(text, JWK(**jwk(JOINT)))
    return dict(json.loads(token.claims))


Read = Callable[[str, str], dict[str, Any]]
LIBRARIES: dict[str, tuple[Read, type[Exception]]] = {
    "joserfc": (read_by_joserfc, BadSignatureError),
    "jwcrypto": (read_by_jwcrypto, InvalidJWSSignature),
}


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_other_libraries_accept_a_credential_and_refuse_a_changed_one(
    library: str, algorithm: str
) -> None:
    read, refusal = LIBRARIES[library]
    text = of_algorithm(algorithm)
    assert read(text, algorithm)["credentialSubject"]["role"] == "auditor"
    for changed in changes(text):
        with pytest.raises(refusal):
            read(changed, algorithm)


def of_algorithm(name: str) -> str:
    """Return a credential, valid now, whose header names the algorithm so."""
    begins = int(time.time())
    request = Credential(
        not_before=begins,
        not_after=begins + 3600,
        identifier="01234567-89ab-cdef-0123-456789abcdef",
        subject=SUBJECT,
        claims=CLAIMS,
        algorithm="EdDSA" if name == "EdDSA" else "Ed25519",
    )
    (text,) = asyncio.run(JOINT.sign([request]))
    assert check(text, now=begins).subject == SUBJECT
    return text


def changes(text: str) -> list[str]:
    """Return the text with one bit changed in its payload, and in its signature."""
    header, payload, signature = text.split(".")
    claims = unbase64(payload).replace(b"auditor", b"auditos")
    flipped = bytearray(unbase64(signature))
    flipped[10] ^= 4
    return [
        f"{header}.{in_base64(claims)}.{signature}",
        f"{header}.{payload}.{in_base64(bytes(flipped))}",
    ]


@given(st.integers(0, len(REVOCABLE) - 1), st.characters(codec="utf-8"))
@example(len(REVOCABLE) - 1, "B")
@example(0, ".")
def test_every_changed_character_is_refused(at: int, character: str) -> None:
    changed = f"{REVOCABLE[:at]}{character}{REVOCABLE[at + 1 :]}"
    if changed != REVOCABLE:
        with pytest.raises(CredentialError) as refused:
            check(changed, published_list)
        assert len(str(refused.value)) < 1000


published_list = published([])


@given(st.text(max_size=200) | st.binary(max_size=60).map(lambda data: f"{in_base64(data)}.e30.AA"))
def test_text_that_is_no_credential_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        check(text)


def resigned(change: Callable[[dict[str, Any]], object]) -> str:
    """Return a credential of the right key that says something else than E3 does."""
    said = part(PLAIN, 1)
    change(said)
    signed = f"{PLAIN.split('.')[0]}.{in_base64(json.dumps(said).encode())}"
    key = SIGNERS["joint"]
    assert isinstance(key, JointSigner)
    return f"{signed}.{in_base64(key.key.sign(signed.encode()))}"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda said: said.update(exp=NOW + 10**9), id="two ends"),
        pytest.param(lambda said: said.update(sub=ISSUER), id="two subjects"),
        pytest.param(lambda said: said.update(iss=SUBJECT), id="two issuers"),
        pytest.param(lambda said: said.update(aud="x"), id="a member that is not known"),
        pytest.param(lambda said: said["credentialSubject"].pop("id"), id="no subject"),
        pytest.param(lambda said: said["credentialSubject"].update(A=1), id="a number"),
        pytest.param(lambda said: said["type"].append("Other"), id="another type"),
        pytest.param(lambda said: said.update(nbf=NOW + 3601), id="an end before the beginning"),
        pytest.param(lambda said: said.update({"id": "urn:uuid:x"}), id="no UUID"),
        pytest.param(dict, id="other spaces"),
    ],
)
def test_what_e3_does_not_issue_is_refused_although_it_is_signed(
    change: Callable[[dict[str, Any]], object],
) -> None:
    with pytest.raises(MalformedError):
        check(resigned(change))


@pytest.mark.parametrize(
    ("subject", "claims"),
    [
        pytest.param("mallory", {"role": "x"}, id="no DID"),
        pytest.param(SUBJECT, {}, id="no claim"),
        pytest.param(SUBJECT, {"id": "did:key:zOther"}, id="the name of a member"),
        pytest.param(SUBJECT, {"Role": "x"}, id="a capital letter"),
        pytest.param(SUBJECT, {"role": "x\n"}, id="a line break"),
        pytest.param(SUBJECT, {"role": "x" * 257}, id="a long value"),
    ],
)
@pytest.mark.parametrize("signer", SIGNERS.values(), ids=SIGNERS)
def test_what_cannot_be_said_is_not_issued(
    signer: Signer, subject: str, claims: dict[str, str]
) -> None:
    with pytest.raises(RequestError):
        asyncio.run(issue(signer, asked(subject, claims, now=NOW)))


@pytest.mark.parametrize("issuer", ["", "did:web:example.org", "did:key:z6LSbysY2xFMRpGMhb7tFTLM"])
def test_an_issuer_without_a_key_is_named(issuer: str) -> None:
    with pytest.raises(CredentialError, match="issuer"):
        verify(PLAIN, issuer=issuer, subject=SUBJECT, now=NOW)


def part(text: str, number: int) -> dict[str, Any]:
    """Return what a part of a JWT says."""
    return dict(json.loads(unbase64(text.split(".")[number])))


def jwk(signer: Signer) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "x": in_base64(signer.public_key)}


def in_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
