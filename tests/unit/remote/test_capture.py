"""What a capture counts of the packets that it is given."""

import socket

import pytest

from e3.remote import capture

pytestmark = pytest.mark.unit


def packet(source: str, target: str, payload: bytes) -> bytes:
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    return b"\x45" + bytes(11) + ends + payload


def test_texts_are_counted_by_packet_and_pairs_by_direction() -> None:
    view = capture.View({"canary": b"tweet", "ams3-0": b"ams3-0"}, 10)
    view.take(packet("198.18.0.2", "198.18.4.2", b"..tweet tweet.."), 1)
    view.take(packet("198.18.0.2", "198.18.4.2", b"nothing"), 2)
    view.take(packet("198.18.4.2", "198.18.0.2", b"from ams3-0"), 3)
    answer = view.answer()
    assert answer["needles"] == {"canary": 1, "ams3-0": 1}
    assert answer["pairs"] == [["198.18.0.2", "198.18.4.2", 2], ["198.18.4.2", "198.18.0.2", 1]]
    assert answer["series"] == [(1, 35, 0, 1), (2, 27, 0, 1), (3, 31, 1, 0)]


def test_a_series_is_bounded_and_counts_go_on() -> None:
    view = capture.View({}, 2)
    for stamp in range(5):
        view.take(packet("198.18.0.2", "198.18.4.2", b""), stamp)
    assert (view.packets, len(view.answer()["series"])) == (5, 2)


@pytest.mark.parametrize("data", [b"", b"\x45\x00", b"\x60" + bytes(20), b"\xff" * 60])
def test_what_is_no_ip_packet_has_no_addresses(data: bytes) -> None:
    assert capture.addresses(data) is None


def test_addresses_of_ipv6_are_found() -> None:
    ends = socket.inet_pton(socket.AF_INET6, "2001:2::1") + bytes(15) + b"\x02"
    assert capture.addresses(b"\x60" + bytes(7) + ends) == ("2001:2::1", "::2")
