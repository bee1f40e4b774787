"""Connections as messages: each message of MPyC is one, and nothing is lost or cut.

That they carry all both ways is tested on hosts (tests/contract/test_didcomm.py).
"""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.agents.courier import Splitter, begins_mpyc

pytestmark = pytest.mark.unit

MESSAGES = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40)))


def packed(number: int, payload: bytes) -> bytes:
    return struct.pack("<qI", number, len(payload)) + payload


@given(MESSAGES, st.data())
def test_each_message_of_mpyc_is_one_piece_however_it_arrives(
    sent: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(packed(*each) for each in sent)
    splitter = Splitter()
    splitter.as_mpyc = True
    found: list[bytes] = []
    place = 0
    while place < len(stream):
        size = data.draw(st.integers(1, len(stream) - place))
        found += splitter.cut(stream[place : place + size])
        place += size
    assert found == [packed(*each) for each in sent]
    assert splitter.rest == b""


@given(st.binary(max_size=30))
def test_whatever_never_becomes_a_message_is_not_lost(data: bytes) -> None:
    splitter = Splitter()
    splitter.as_mpyc = True
    assert b"".join(splitter.cut(data)) + splitter.rest == data


@pytest.mark.parametrize(
    ("first", "mpyc"),
    [
        (b"\x02\x00" + bytes(16), True),
        (b"\x00", False),  # the rest of it has not come
        (b"\xff\xffE3\r\n", False),  # the agreement
        (b"\x16\x03\x01", False),  # TLS
        (b"SSH-2.0", False),
    ],
)
def test_the_first_bytes_tell_what_a_connection_is(first: bytes, mpyc: bool) -> None:  # noqa: FBT001
    assert begins_mpyc(first) == mpyc
