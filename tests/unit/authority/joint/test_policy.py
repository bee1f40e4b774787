"""What a holder refuses to sign: every rule, with the value that it names."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from e3.authority.credentials import selective
from e3.authority.joint import requests
from e3.authority.joint.policy import (
    ANYBODY,
    AUTHORITY_SECONDS,
    JointKey,
    OwnCertificate,
    RefusalError,
    Scope,
    check,
    examine,
)
from e3.authority.joint.requests import (
    Credential,
    NebulaAuthority,
    NebulaHost,
    Request,
    SshHost,
    SshUser,
    Status,
    StatusList,
    TlsAuthority,
    TlsHost,
)
from e3.authority.joint.requests.nebula import fingerprint
from tests.holders import joint_key

NOW = 1_800_000_000
DAY = 86_400
KEY = joint_key()
POINT = joint_key().public_key
SIGNATURE = bytes(64)
SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
URL = "urn:e3:status"
NEBULA_OWN = NebulaAuthority(
    not_before=NOW - DAY, not_after=NOW + 100 * DAY, version=2, name="joint", groups=("mpyc",)
)
TLS_OWN = TlsAuthority(not_before=NOW - DAY, not_after=NOW + 100 * DAY, name="joint", serial="1")
SCOPE = Scope(
    names=("ams3-0", "nyc3-0"),
    most_seconds=30 * DAY,
    networks=("10.77.0.0/16", "fd00:77::/64"),
    groups=("mpyc",),
    addresses={"ams3-0": ("10.77.0.2/16", "fd00:77::2/64")},
    keys={"ams3-0": (POINT,)},
    principals={"ams3-0": ("10.77.0.2",)},
    users={"ams3-0": ("root", "www")},
)
KEYS = {
    "nebula": JointKey(
        public_key=KEY.public_key,
        purpose="nebula",
        scope=SCOPE,
        own=OwnCertificate(request=NEBULA_OWN, signature=SIGNATURE),
    ),
    "tls": JointKey(
        public_key=KEY.public_key,
        purpose="tls",
        scope=SCOPE,
        own=OwnCertificate(request=TLS_OWN, signature=SIGNATURE),
    ),
    "ssh": JointKey(public_key=KEY.public_key, purpose="ssh", scope=SCOPE),
    "credentials": JointKey(
        public_key=KEY.public_key,
        purpose="credentials",
        scope=Scope(
            names=(SUBJECT,),
            most_seconds=30 * DAY,
            claims={"role": ("auditor",), "note": ()},
            status_url=URL,
        ),
        revoked=frozenset({7, 9}),
    ),
}
NEBULA = NebulaHost(
    not_before=NOW,
    not_after=NOW + DAY,
    version=2,
    name="ams3-0",
    networks=("10.77.0.2/16",),
    groups=("mpyc",),
    public_key=POINT,
    issuer=fingerprint(NEBULA_OWN, KEY.public_key, SIGNATURE),
)
TLS = TlsHost(
    not_before=NOW,
    not_after=NOW + DAY,
    name="ams3-0",
    serial="1",
    public_key=POINT,
    issuer="joint",
)
SSH = SshHost(
    not_before=NOW,
    not_after=NOW + DAY,
    name="ams3-0",
    principals=("ams3-0", "10.77.0.2"),
    nonce=bytes(32),
    public_key=POINT,
)
USER = SshUser(
    not_before=NOW,
    not_after=NOW + DAY,
    name="ams3-0",
    principals=("root",),
    nonce=bytes(32),
    public_key=POINT,
)
CREDENTIAL = Credential(
    not_before=NOW,
    not_after=NOW + DAY,
    identifier="01234567-89ab-cdef-0123-456789abcdef",
    subject=SUBJECT,
    claims={"role": "auditor", "note": "anything"},
    status=Status(url=URL, index=3),
)
LIST = StatusList(not_before=NOW, not_after=NOW + DAY, url=URL, revoked=(1, 7, 9))
ALLOWED: list[Request] = [NEBULA, TLS, SSH, USER]
IDS = ["nebula", "tls", "ssh host", "ssh user"]


@pytest.mark.parametrize("request_", ALLOWED, ids=IDS)
def test_what_the_holders_agreed_on_is_signed(request_: Request) -> None:
    found = examine(KEYS[request_.purpose], requests.encode(request_), NOW)
    assert found.message == request_.to_be_signed(KEY.public_key)
    assert str(getattr(request_, "name", None)) in found.what
    assert POINT.hex() in found.what


SELECTIVE = selective(CREDENTIAL)


@pytest.mark.parametrize(
    "request_", [CREDENTIAL, SELECTIVE, LIST], ids=["credential", "selective", "list"]
)
def test_credentials_that_the_holders_agreed_on_are_signed(request_: Request) -> None:
    found = examine(KEYS["credentials"], requests.encode(request_), NOW)
    assert found.message == request_.to_be_signed(KEY.public_key)
    assert ("3 revoked" if request_ == LIST else "role=auditor") in found.what


def test_claims_that_are_hidden_later_are_judged_as_others() -> None:
    """What a holder signs are digests; it makes them of claims that it has seen."""
    claims = {**SELECTIVE.claims, "role": "chair"}
    refused(replace(SELECTIVE, claims=claims), "claim", "chair")


def test_a_scope_may_have_every_subject() -> None:
    key = KEYS["credentials"]
    anybody = replace(key, scope=replace(key.scope, names=(ANYBODY,)))
    check(anybody, replace(CREDENTIAL, subject="did:key:zOther"), NOW)


EVERY: dict[str, tuple[str, str, Callable[[Request], Request]]] = {
    "a stranger": ("member", "'mallory'", lambda one: replace(one, name="mallory")),
    "another key": ("key", "0101", lambda one: replace(one, public_key=b"\x01" * 32)),
    "a long validity": (
        "validity",
        f"{31 * DAY} s",
        lambda one: replace(one, not_after=NOW + 31 * DAY),
    ),
    "a beginning tomorrow": (
        "clock",
        f"{DAY} s ahead",
        lambda one: replace(one, not_before=NOW + DAY, not_after=NOW + 2 * DAY),
    ),
    "a beginning yesterday": (
        "clock",
        f"{DAY} s behind",
        lambda one: replace(one, not_before=NOW - DAY),
    ),
}


@pytest.mark.parametrize("case", EVERY)
@pytest.mark.parametrize("request_", ALLOWED, ids=IDS)
def test_of_every_kind_is_refused(request_: Request, case: str) -> None:
    rule, value, change = EVERY[case]
    refused(change(request_), rule, value)


@pytest.mark.parametrize(
    ("request_", "rule", "value"),
    [
        pytest.param(
            replace(NEBULA, networks=("10.78.0.2/16",)), "address", "10.78.0.2/16", id="range"
        ),
        pytest.param(
            replace(NEBULA, networks=("10.77.0.2/8",)), "address", "10.77.0.2/8", id="wide prefix"
        ),
        pytest.param(
            replace(NEBULA, networks=("10.77.0.3/16",)), "address", "10.77.0.3", id="another's"
        ),
        pytest.param(
            replace(NEBULA, networks=("fd00:78::2/64",)), "address", "fd00:78::2", id="IPv6"
        ),
        pytest.param(replace(NEBULA, groups=("mpyc", "admin")), "group", "'admin'", id="group"),
        pytest.param(replace(NEBULA, issuer=bytes(32)), "issuer", "0000", id="issuer"),
        pytest.param(
            replace(NEBULA, version=1, networks=("10.77.0.2/16",)), "issuer", "2", id="version"
        ),
        pytest.param(replace(TLS, issuer="another"), "issuer", "'another'", id="issuer's name"),
        pytest.param(
            replace(SSH, principals=("ams3-0", "nyc3-0")), "principal", "'nyc3-0'", id="principal"
        ),
        pytest.param(replace(USER, principals=("adm",)), "principal", "'adm'", id="user"),
        pytest.param(replace(USER, principals=("ams3-0",)), "principal", "'ams3-0'", id="own name"),
        pytest.param(replace(USER, name="nyc3-0"), "member", "'nyc3-0'", id="a host as a user"),
        pytest.param(replace(SSH, principals=("root",)), "principal", "'root'", id="user as host"),
        pytest.param(
            replace(TLS, name="nyc3-0", public_key=bytes(32)), "key", "prime order", id="point"
        ),
        pytest.param(
            replace(SSH, name="nyc3-0", principals=("nyc3-0",), public_key=bytes(32)),
            "key",
            "prime order",
            id="point for ssh",
        ),
        pytest.param(
            replace(CREDENTIAL, subject="did:key:zOther"), "member", "zOther", id="subject"
        ),
        pytest.param(
            replace(CREDENTIAL, not_after=NOW + 31 * DAY), "validity", "s are more", id="long"
        ),
        pytest.param(replace(CREDENTIAL, claims={"admin": "yes"}), "claim", "'admin'", id="claim"),
        pytest.param(replace(CREDENTIAL, claims={"role": "root"}), "claim", "'root'", id="value"),
        pytest.param(replace(CREDENTIAL, status=None), "status", URL, id="not revocable"),
        pytest.param(
            replace(CREDENTIAL, status=Status(url="urn:x", index=3)), "status", URL, id="list"
        ),
        pytest.param(replace(LIST, url="urn:x"), "status", URL, id="another list"),
        pytest.param(replace(LIST, revoked=(1, 7)), "revoked", "[9]", id="valid again"),
    ],
)
def test_what_is_outside_of_the_scope_is_refused(request_: Request, rule: str, value: str) -> None:
    refused(request_, rule, value)


def test_a_key_signs_for_its_purpose_alone() -> None:
    for request in [*ALLOWED, CREDENTIAL, LIST, NEBULA_OWN, TLS_OWN]:
        for purpose, key in KEYS.items():
            if purpose != request.purpose:
                with pytest.raises(RefusalError, match=purpose) as error:
                    check(key, request, NOW)
                assert error.value.rule == "purpose"


@pytest.mark.parametrize("own", [NEBULA_OWN, TLS_OWN], ids=["nebula", "tls"])
def test_the_authoritys_own_certificate_is_signed_once(
    own: NebulaAuthority | TlsAuthority,
) -> None:
    asked = replace(own, not_before=NOW)
    first = JointKey(public_key=KEY.public_key, purpose=own.purpose, scope=SCOPE)
    examine(first, requests.encode(asked), NOW)
    refused(asked, "once", "joint")
    for leaf in ALLOWED[:2]:
        if leaf.purpose == own.purpose:
            with pytest.raises(RefusalError, match="no certificate of its own") as error:
                check(first, leaf, NOW)
            assert error.value.rule == "issuer"
    with pytest.raises(RefusalError, match="more than") as error:
        check(first, replace(asked, not_after=NOW + AUTHORITY_SECONDS + 1), NOW)
    assert error.value.rule == "validity"


@pytest.mark.parametrize("request_", [NEBULA, TLS], ids=["nebula", "tls"])
def test_no_certificate_outlives_the_authoritys_own(request_: Request) -> None:
    late = NOW + 99 * DAY + 1
    asked = replace(request_, not_before=late, not_after=late + DAY)
    with pytest.raises(RefusalError, match="within") as error:
        check(KEYS[request_.purpose], asked, late)
    assert error.value.rule == "validity"


@given(st.binary(max_size=200))
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    with pytest.raises(RefusalError) as error:
        examine(KEYS["nebula"], data, NOW)
    assert error.value.rule == "form"


def test_where_the_scope_says_nothing_of_a_member_the_range_binds_it() -> None:
    asked = replace(NEBULA, name="nyc3-0", networks=("10.77.9.9/16",), public_key=bytes(32))
    check(KEYS["nebula"], asked, NOW)


def refused(request: Request, rule: str, value: str) -> None:
    """A holder refuses the request by this rule, and names this value."""
    with pytest.raises(RefusalError, match=re.escape(value)) as error:
        examine(KEYS[request.purpose], requests.encode(request), NOW)
    assert error.value.rule == rule
