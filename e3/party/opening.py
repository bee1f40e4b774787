"""What a runner does first: it listens, and calls the other parties.

The rest of it takes as long to load as a connection's round trip, so it is loaded meanwhile; this
module imports next to nothing. `e3.party.agreement` then finds connections that are open, or are
being opened. Whatever cannot be opened here is tried there again, which says why it fails.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

Endpoint = tuple[str, int]
"""An address and a port of TCP."""

RESEND_MS = 5000
"""TCP's longest pause before it sends again what was lost.

By default it grows to two minutes. Of 300 parties on one machine, 290 of 44,850 statements waited
for it when all others had arrived.
"""

MOST_CALLS, LEAST_CALLS = 2400, 8
"""How many connections all parties together open at once; how many each party may in any case.

What calls 44,850 peers at once sends most of its packets again: a network that shares two
processors with 300 parties lost up to 45 % of them.
"""

TCP_RTO_MAX_MS = 44
"""tcp(7), Linux 6.15; the socket module has no name for it."""


class Opened(NamedTuple):
    """A party's listener, where it needs one, and its connections to parties of higher pid."""

    listener: socket.socket | None
    calls: dict[int, socket.socket]


def main(*folders: str) -> Callable[[], object]:
    """Run one party, see `e3.party.runner.main`."""
    said = read_first_line()
    opened = open_ends(said)
    from e3.party import runner  # noqa: PLC0415 -- this is what takes long to load

    return runner.main(said, opened, *folders)


def read_first_line() -> bytes:
    """Return the deployer's first line, which is the spec, and what has come with it."""
    said = b""
    while b"\n" not in said and (data := os.read(0, 65536)):
        said += data
    return said


def open_ends(said: bytes) -> Opened:
    """Listen and call as the spec says, as far as it is one and that is possible."""
    opened = Opened(None, {})
    try:
        spec = json.loads(said.partition(b"\n")[0])
        pid = int(spec["pid"])
        parties = [(str(address), int(port)) for address, port in spec["parties"]]
        own = parties[pid]
        if pid:
            opened = opened._replace(listener=listen(own, len(parties)))
        address = None if spec["address_trust"] == "translated" else own[0]
        for peer in range(pid + 1, min(pid + 1 + calls_at_once(len(parties)), len(parties))):
            opened.calls[peer] = call(parties[peer], address)
    except (LookupError, OSError, OverflowError, TypeError, ValueError):
        pass
    return opened


def listen(own: Endpoint, parties: int) -> socket.socket:
    """Return the socket to which parties of lower pid connect; party 0 only calls.

    It listens before any program runs. So a port in use is found at once, no other process can
    take it meanwhile, and a peer's first attempt to connect succeeds. Raises `OSError`.
    """
    listener = socket.socket(family(own))
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it. asyncio sets it only on sockets of an explicit protocol,
        # and without it a small message waits until the peer has acknowledged the one before.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(own)
        listener.listen(backlog(parties))
    except BaseException:
        listener.close()
        raise
    return listener


def backlog(parties: int) -> int:
    """Return how many connections may wait in a listener: all peers', and as many broken ones.

    Where there is no room, Linux lets a caller believe that it is connected, and resets the
    connection a minute later.
    """
    return max(100, 2 * parties)


def call(peer: Endpoint, own: str | None) -> socket.socket:
    """Return a connection to a party that is being opened, which peers know by the address ``own``.

    Without ``own`` the host chooses one. Raises `OSError` if there is no way to the peer.
    """
    connection = socket.socket(family(peer), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if own is not None:
            connection.bind((own, 0))
        connection.connect_ex(peer)  # how it ends is read once it can be written to
    except BaseException:
        connection.close()
        raise
    return connection


def calls_at_once(parties: int) -> int:
    """Return how many connections each of so many parties opens at once."""
    return max(MOST_CALLS // parties, LEAST_CALLS)


def watch(connection: socket.socket, silence_seconds: int, probe_seconds: int) -> None:
    """Make the kernel end a connection after so much silence, or when a probe finds it gone.

    A probe is sent after every ``probe_seconds`` in which nothing has come. TCP alone would wait
    for a quarter of an hour, or for ever where nothing is to be sent: what a peer says when it
    closes a broken connection may be lost.
    """
    with suppress(OSError, AttributeError):  # no TCP, or a system without these options
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, probe_seconds),
            (socket.TCP_KEEPINTVL, probe_seconds),
            (socket.TCP_USER_TIMEOUT, silence_seconds * 1000),
        ):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def resend_soon(connection: socket.socket) -> None:
    """Limit TCP's pauses to `RESEND_MS` where the kernel can."""
    with suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RESEND_MS)


def family(end: Endpoint) -> socket.AddressFamily:
    """Return the family of an endpoint's address."""
    return socket.AF_INET6 if ":" in end[0] else socket.AF_INET
