"""What a runner opens before it is loaded: what the spec says, or nothing."""

import json
import socket

import pytest

from e3.party.opening import (
    LEAST_CALLS,
    RESEND_MS,
    TCP_RTO_MAX_MS,
    Endpoint,
    open_ends,
    resend_soon,
)

pytestmark = pytest.mark.unit

OWN = "127.0.0.1"


def said(pid: object, parties: object, trust: str = "unverified") -> bytes:
    """What a deployer says first."""
    return json.dumps({"pid": pid, "parties": parties, "address_trust": trust}).encode() + b"\nmore"


@pytest.mark.parametrize(
    ("trust", "source"), [("unverified", "127.0.0.5"), ("translated", OWN)], ids=["own", "any"]
)
def test_a_party_listens_and_calls_those_after_it(trust: str, source: str) -> None:
    with socket.create_server((OWN, 0)) as free:
        own: Endpoint = ("127.0.0.5", free.getsockname()[1])
    with socket.create_server((OWN, 0)) as peer:
        opened = open_ends(said(1, [[OWN, 1], own, peer.getsockname()], trust))
        assert opened.listener is not None
        assert opened.calls.keys() == {2}
        with opened.listener, opened.calls[2], peer.accept()[0] as accepted:
            assert opened.listener.getsockname() == own
            assert accepted.getpeername()[0] == source


def test_the_first_party_only_calls() -> None:
    with socket.create_server((OWN, 0)) as peer:
        opened = open_ends(said(0, [[OWN, 1], peer.getsockname()]))
        assert opened.listener is None
        opened.calls[1].close()


def test_many_peers_are_called_a_few_at_once() -> None:
    with socket.create_server((OWN, 0)) as peer:
        opened = open_ends(said(0, [[OWN, 1], *[peer.getsockname()] * 599]))
        assert opened.calls.keys() == set(range(1, 1 + LEAST_CALLS))
        for connection in opened.calls.values():
            connection.close()


def test_what_was_lost_is_sent_again_within_seconds() -> None:
    with socket.socket() as connection:
        try:
            usual = connection.getsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS)
        except OSError:
            pytest.skip("Linux before 6.15")
        resend_soon(connection)
        limit = connection.getsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS)
        assert limit == RESEND_MS < usual


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"[1]\n",
        b"{}\n",
        b"\xff\n",
        said(float("inf"), [[OWN, 1]]),
        said(2, [[OWN, 1], [OWN, 2]]),
        said(1, [[OWN, 1], [OWN, 70_000]]),
        said(1, [[OWN, 1], ["198.18.0.9", 1]]),  # an address of no device here
        said(1, [[OWN]]),
    ],
)
def test_without_a_spec_that_can_be_followed_nothing_is_opened(line: bytes) -> None:
    assert open_ends(line) == (None, {})
