"""Invitations on a local network: announced while somebody waits, and read from anybody there."""

import asyncio
import secrets
import time
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.adhoc import nearby
from e3.didcomm.errors import DidcommError
from e3.didcomm.session import invitation as invitations
from e3.didcomm.session.invitation import Invitation
from e3.errors import SessionError
from tests.unit.didcomm.parties import invitation, people

pytestmark = pytest.mark.unit

HERE = ("127.0.0.1",)
SECONDS = 2.5
"""The first question asks for an answer by unicast (RFC 6762, 5.4), which any one of this machine's
sockets at that port may get; the next one, a second later, does not.
"""


def fresh() -> Invitation:
    now = int(time.time())
    return replace(invitation(people(1)[0]), created=now, expires=now + 600)


def in_bytes(record: dict[str, bytes]) -> dict[bytes, bytes | None]:
    return {name.encode(): value for name, value in record.items()}


def test_an_invitation_is_read_as_it_was_announced() -> None:
    made = fresh()
    said = nearby.record(invitations.link(made))
    assert max(len(name) + 1 + len(value) for name, value in said.items()) <= 255
    assert sum(map(len, said.values())) < 1300  # of the one packet that RFC 6763 wants it to be
    assert nearby.read(in_bytes(said)) == made


PIECES = st.dictionaries(
    st.sampled_from([b"txtvers", b"i0", b"i1", b"i7", b"x"]), st.none() | st.binary(max_size=250)
)


@given(PIECES)
def test_another_record_is_no_invitation(said: dict[bytes, bytes | None]) -> None:
    with pytest.raises(DidcommError):
        nearby.read({b"txtvers": b"1", **said})


def test_a_record_that_unpacks_to_megabytes_is_refused() -> None:
    packed = zlib.compress(bytes(100_000_000))[: 8 * 240]
    pieces = {b"i%d" % at: packed[at * 240 : (at + 1) * 240] for at in range(8)}
    with pytest.raises(DidcommError):
        nearby.read({b"txtvers": b"1", **pieces})


def test_an_invitation_that_is_too_long_is_not_announced() -> None:
    noise = secrets.token_urlsafe(2500)
    with pytest.raises(SessionError, match="can be announced"):
        nearby.record(invitations.link(replace(fresh(), identity=f"did:peer:4{noise}")))


def test_who_listens_finds_what_is_announced_until_it_ends() -> None:
    pytest.importorskip("zeroconf")
    made, over = fresh(), replace(fresh(), expires=int(time.time()) - 3600)

    async def run() -> None:
        async with (
            nearby.announced(invitations.link(made), HERE),
            nearby.announced(invitations.link(over), HERE),
        ):
            assert await nearby.found(SECONDS, HERE) == [made]
        assert await nearby.found(SECONDS, HERE) == []

    asyncio.run(run())
