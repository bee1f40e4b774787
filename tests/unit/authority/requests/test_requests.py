"""Requests to the joint authority: one encoding each, and nothing else is read."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.authority.joint import requests
from e3.authority.joint.requests import (
    Credential,
    NebulaAuthority,
    NebulaHost,
    Request,
    RequestError,
    SelectiveCredential,
    SshHost,
    SshUser,
    Status,
    StatusList,
    TlsAuthority,
    TlsHost,
)
from e3.authority.joint.requests.credential import LIST_BITS
from tests.holders import joint_key

KEY = joint_key().public_key
NAMES = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9 ._-]{0,62}[A-Za-z0-9])?\Z")
KEYS = st.binary(min_size=32, max_size=32)
GROUPS = st.lists(NAMES, max_size=16).map(tuple)
TIMES = st.tuples(st.integers(0, 2**36), st.integers(1, 2**36)).map(
    lambda pair: {"not_before": pair[0], "not_after": sum(pair)}
)


PRINCIPALS = st.lists(
    st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,60}\Z"), min_size=1, max_size=16, unique=True
).map(tuple)
SERIALS = st.from_regex(r"\A[1-9a-f][0-9a-f]{0,38}\Z")
EXTENSIONS = st.sets(st.sampled_from(["permit-pty", "permit-user-rc"])).map(sorted).map(tuple)
ADDRESSES = st.ip_addresses(v=4, network="10.0.0.0/8").map(lambda one: (f"{one}/8",))
ASKED: dict[type[Request], dict[str, st.SearchStrategy[object]]] = {
    NebulaAuthority: {"version": st.sampled_from([1, 2]), "networks": ADDRESSES, "groups": GROUPS},
    NebulaHost: {
        "version": st.sampled_from([1, 2]),
        "networks": ADDRESSES,
        "groups": GROUPS,
        "public_key": KEYS,
        "issuer": KEYS,
    },
    TlsAuthority: {"serial": SERIALS},
    TlsHost: {"serial": SERIALS, "public_key": KEYS, "issuer": NAMES},
    SshHost: {"principals": PRINCIPALS, "nonce": KEYS, "public_key": KEYS},
    SshUser: {
        "principals": PRINCIPALS,
        "extensions": EXTENSIONS,
        "nonce": KEYS,
        "public_key": KEYS,
    },
}


UUIDS = st.uuids().map(str)
DIDS = st.from_regex(r"\Adid:[a-z0-9]{1,16}:[A-Za-z0-9._:%-]{1,60}\Z")
URLS = st.from_regex(r"\Aurn:[A-Za-z0-9._:/?=&%~+-]{1,60}\Z")
CLAIMS = st.dictionaries(
    st.from_regex(r"\A[a-z][A-Za-z0-9]{0,20}\Z").filter(lambda name: name not in {"id", "type"}),
    st.from_regex(r"\A[ -~]{1,60}\Z"),
    min_size=1,
    max_size=16,
)
SALTS = st.from_regex(r"\A[A-Za-z0-9_-]{22}\Z")
PLACES = st.integers(0, LIST_BITS - 1)
STATUSES = st.none() | st.builds(Status, url=URLS, index=PLACES)
REVOKED = st.sets(PLACES, max_size=50).map(sorted).map(tuple)
NAMELESS: dict[type[Request], dict[str, st.SearchStrategy[object]]] = {
    Credential: {"identifier": UUIDS, "subject": DIDS, "claims": CLAIMS, "status": STATUSES},
    SelectiveCredential: {"identifier": UUIDS, "subject": DIDS, "status": STATUSES},
    StatusList: {"url": URLS, "revoked": REVOKED},
}
ALL = NAMELESS | {kind: {**fields, "name": NAMES} for kind, fields in ASKED.items()}


@st.composite
def asked(draw: st.DrawFn) -> Request:
    kind = draw(st.sampled_from(list(ALL)))
    fields: dict[str, Any] = {name: draw(values) for name, values in ALL[kind].items()}
    if kind is SelectiveCredential:
        claims = draw(CLAIMS)
        salts = st.lists(SALTS, min_size=len(claims), max_size=len(claims), unique=True)
        fields |= {"claims": claims, "salts": dict(zip(claims, draw(salts), strict=True))}
    times: dict[str, Any] = draw(TIMES)
    return kind(**times, **fields)


@given(asked())
def test_a_request_is_read_as_it_was_written(request: Request) -> None:
    assert requests.decode(requests.encode(request)) == request


@given(asked(), asked())
def test_different_requests_have_different_bytes_to_sign(one: Request, other: Request) -> None:
    assert (one == other) == (one.to_be_signed(KEY) == other.to_be_signed(KEY))


@given(asked(), st.data())
def test_a_changed_byte_is_refused_or_asks_for_something_else(
    request: Request, data: st.DataObject
) -> None:
    written = requests.encode(request)
    at = data.draw(st.integers(0, len(written) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != written[at]))
    with suppress(RequestError):
        assert requests.decode(written[:at] + bytes([byte]) + written[at + 1 :]) != request


@given(st.binary(max_size=300))
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        requests.decode(data)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


WRITTEN = requests.encode(
    NebulaAuthority(not_before=0, not_after=1, version=2, name="a", networks=(), groups=())
)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        pytest.param(b"{", b" {", "not written in the way", id="spaces"),
        pytest.param(b'"version":2', b'"version":2,"version":2', "not written", id="twice"),
        pytest.param(b'"version":2', b'"version":3', "version", id="version"),
        pytest.param(b'"version":2', b'"version":2,"raw":"AA=="', "raw", id="unknown field"),
        pytest.param(b"nebula-authority", b"raw", "raw", id="unknown kind"),
        pytest.param(b'"name":"a"', b'"name":""', "name", id="no name"),
        pytest.param(b'"name":"a"', b'"name":"a\\n"', "name", id="control character"),
        pytest.param(b'"name":"a"', '"name":"\u0430"'.encode(), "name", id="Cyrillic"),
        pytest.param(b'"name":"a"', b'"name":"' + b"a" * 65 + b'"', "name", id="long name"),
        pytest.param(b'"groups":[]', b'"groups":["a,b"]', "groups", id="two groups in one"),
        pytest.param(b'"not_after":1', b'"not_after":0', "later", id="no validity"),
        pytest.param(b'"not_after":1', b'"not_after":1e99', "not_after", id="far"),
        pytest.param(b'"not_before":0', b'"not_before":-1', "not_before", id="before 1970"),
        pytest.param(b"}", b"}" + b" " * 70_000, "at most", id="long"),
        pytest.param(b"{", b"[" * 10_000, "read", id="deep"),
    ],
)
def test_what_a_request_may_not_have_is_named(old: bytes, new: bytes, reason: str) -> None:
    requests.decode(WRITTEN)
    with pytest.raises(RequestError, match=reason):
        requests.decode(WRITTEN.replace(old, new, 1))
