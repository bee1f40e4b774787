"""MPyC's peers are called while it loads; what it does not take is closed."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from e3.party.early_calls import EarlyCalls
from e3.party.opening import Endpoint
from e3.party.protocol import Spec

pytestmark = pytest.mark.unit

OWN = "127.0.0.1"


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    """Listeners of parties 1 and 2."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server((OWN, 0))) for _ in range(2)]


def spec(*peers: Endpoint, trust: str = "unverified") -> Spec:
    """What party 0 of these is to run."""
    parties = ((OWN, 1), *peers)
    return Spec(session="s", pid=0, parties=parties, entry="p.py", args=(), address_trust=trust)


def test_mpyc_takes_connections_that_peers_have_already(listeners: list[socket.socket]) -> None:
    peers: list[Endpoint] = [listener.getsockname() for listener in listeners]
    early = EarlyCalls(spec(*peers))
    early.begin()
    for peer, listener in zip(peers, listeners, strict=True):
        with listener.accept()[0] as accepted:
            taken = asyncio.run(early.take(peer))
            assert taken is not None
            with taken:
                assert taken.getsockname() == accepted.getpeername()
    assert asyncio.run(early.take(peers[0])) is None  # MPyC dials itself from now on


def test_a_peer_that_does_not_listen_is_left_to_mpyc(listeners: list[socket.socket]) -> None:
    peer: Endpoint = listeners[0].getsockname()
    listeners[0].close()
    early = EarlyCalls(spec(peer))
    early.begin()
    assert asyncio.run(early.take(peer)) is None


def test_what_is_not_taken_is_closed_and_never_inherited(listeners: list[socket.socket]) -> None:
    peers: list[Endpoint] = [listener.getsockname() for listener in listeners]
    early = EarlyCalls(spec(*peers))
    early.begin()
    with listeners[0].accept()[0] as accepted:
        accepted.settimeout(10)
        waits, goes_on = os.pipe()
        if (child := os.fork()) == 0:
            os.close(goes_on)
            os.read(waits, 1)
            os._exit(0)
        early.close()
        assert accepted.recv(1) == b""  # while the child lives
        os.close(goes_on)
        os.waitpid(child, 0)
        os.close(waits)
