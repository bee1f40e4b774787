"""Requests for port mappings are decoded strictly, and answers are those of RFC 6886 and 6887."""

import random
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.lab.port_mapping import MOST_MAPPINGS, Inside, Mappings
from e3.lab.port_requests import MOST_BYTES, Question, Router, Wish, read

pytestmark = pytest.mark.unit

ROUTER = Router(outside=IPv4Address("198.18.4.2"), up_seconds=77)
SOURCE = IPv4Address("172.16.0.2")
NONCE = bytes(range(12))


def pcp(
    opcode: int = 1, client: str = str(SOURCE), protocol: int = 17, inside: int = 4242
) -> bytes:
    head = struct.pack("!BBHI16s", 2, opcode, 0, 600, IPv6Address(f"::ffff:{client}").packed)
    if opcode != 1:
        return head
    return head + struct.pack("!12sB3xHH16s", NONCE, protocol, inside, 5555, bytes(16))


def test_nat_pmp_as_the_rfc_draws_it() -> None:
    asked = read(bytes.fromhex("0000"), SOURCE, ROUTER)
    assert isinstance(asked, Question)
    assert asked.answer(ROUTER).hex() == "00800000" + "0000004d" + "c6120402"  # 3.2
    wish = read(bytes.fromhex("00010000" + "1092" + "15b3" + "00000e10"), SOURCE, ROUTER)  # 3.3
    assert wish == Wish(
        version=0, protocol="udp", inside_port=4242, wanted_port=5555, life_seconds=3600
    )
    assert isinstance(wish, Wish)
    answer = wish.answer(ROUTER, 6000, 1800).hex()
    assert answer == "00810000" + "0000004d" + "1092" + "1770" + "00000708"
    assert wish.refusal(ROUTER).hex().startswith("00810004")


def test_pcp_as_the_rfc_draws_it() -> None:
    wish = read(pcp(), SOURCE, ROUTER)
    assert isinstance(wish, Wish)
    assert (wish.protocol, wish.inside_port, wish.wanted_port) == ("udp", 4242, 5555)
    answer = wish.answer(ROUTER, 6000, 300)
    assert len(answer) == 60  # 24 and 36: 7.2 and 11.1
    assert answer[:12].hex() == "02810000" + "0000012c" + "0000004d"
    assert answer[24:36] == NONCE
    assert answer[36:40].hex() == "11000000"
    assert struct.unpack_from("!HH", answer, 40) == (4242, 6000)
    assert IPv6Address(answer[44:]).ipv4_mapped == ROUTER.outside
    announced = read(pcp(opcode=0), SOURCE, ROUTER)
    assert isinstance(announced, Question)
    assert announced.answer(ROUTER).hex()[:8] == "02800000"


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (pcp(client="172.16.0.3"), "0281000c"),  # ADDRESS_MISMATCH
        (pcp(opcode=2), "02820004"),  # UNSUPP_OPCODE
        (pcp(protocol=1), "02810009"),  # UNSUPP_PROTOCOL
        (pcp(inside=0), "02810009"),
        (pcp()[:40], "02810003"),  # MALFORMED_REQUEST
        (pcp() + b"x", "02810003"),
        (b"\x01" + pcp()[1:], "02810001"),  # UNSUPP_VERSION
        (b"\x00\x05", "00850005"),  # of NAT-PMP: unsupported opcode
    ],
)
def test_what_cannot_be_done_is_refused_with_its_code(data: bytes, answer: str) -> None:
    refused = read(data, SOURCE, ROUTER)
    assert isinstance(refused, bytes)
    assert refused.hex().startswith(answer)


@pytest.mark.parametrize("data", [b"", b"\x02", pcp()[:23], b"\x02\x81" + pcp()[2:], bytes(1101)])
def test_what_is_no_request_is_not_answered(data: bytes) -> None:
    assert read(data, SOURCE, ROUTER) is None


@given(st.binary(max_size=MOST_BYTES + 1) | st.binary(max_size=80).map(lambda rest: b"\2" + rest))
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    asked = read(data, SOURCE, ROUTER)
    if isinstance(asked, Wish):
        assert 0 <= asked.inside_port < 65536
        assert len(asked.answer(ROUTER, 1024, 1)) in {16, 60}


def test_a_port_is_granted_once_and_returned() -> None:
    mappings = Mappings(random.Random(1))  # noqa: S311 - a test wants the same each time
    one: Inside = ("udp", SOURCE, 1)
    other: Inside = ("udp", SOURCE, 2)
    assert mappings.grant(one, 5555, 10.0) == 5555
    assert mappings.grant(("tcp", SOURCE, 1), 5555, 10.0) == 5555
    assert mappings.grant(other, 5555, 20.0) not in {None, 5555}
    low = mappings.grant(("udp", SOURCE, 3), 80, 30.0)
    assert low is not None
    assert low >= 1024
    assert mappings.next() == 10.0
    assert mappings.expired(15.0) == [one, ("tcp", SOURCE, 1)]
    assert mappings.take(one) == 5555
    assert mappings.take(one) is None
    assert mappings.grant(("udp", SOURCE, 4), 5555, 40.0) == 5555


def test_one_host_cannot_ask_for_too_much() -> None:
    mappings = Mappings(random.Random(1))  # noqa: S311 - the same
    granted = [mappings.grant(("udp", SOURCE, i), 0, 1.0) for i in range(MOST_MAPPINGS + 1)]
    assert granted.count(None) == 1
    assert granted[-1] is None
