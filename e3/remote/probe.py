"""Runs on a host: exchanges data with every other host over the overlay, and times it.

Reads one JSON line: ``{"name", "address", "port", "peers": {name: address}, "first": [name],
"seconds"}``.
It answers every peer that connects, connects to every peer until ``seconds`` have passed, and
writes one JSON line: ``{"rtt_ms": {name: number}, "ago": {name: seconds}, "errors": {name:
text}}``. ``ago`` is how long before that line data came back. It continues to answer until its
standard input ends. Standard library only.

What it sends last is larger than a packet can be: a path may lose large packets without a word (RFC
2923, 2.1), and a session would begin over it and stand still. It waits for no echo before it sends
on, so that a pair needs two round trips: one to connect, and one for all echoes.

Peers named in ``first`` connect first. Two ends of a WireGuard tunnel that start at once refuse
each other's handshake, and try again 5 s later, at about the same time.

One thread does all of it, and each host opens only so many connections at once that all together
open some hundreds. With a thread for each connection, 300 hosts of one machine would need 180,000.
"""

import heapq
import itertools
import json
import math
import os
import resource
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial

GREETINGS = 2
APART_SECONDS = 0.02
"""Between them: what delays one, as a busy machine does, seldom delays both."""

FIRST_TRY_SECONDS = 0.6
FIRST_TRY_HOSTS = 50
"""So many hosts that share a machine answer within that time; more take longer."""

MOST_ATTEMPTS = 2
"""To connect to one peer at a time."""

RETRY_SECONDS = 0.05
MOST_TRIES_A_SECOND = 20_000
"""Of all hosts together, at peers that do not listen yet."""

MOST_OPENING = 512
"""Connections that all hosts together open at once: a lab's WAN carries them without loss."""

LEAST_OPENING = 2
OPENING_SECONDS = 2.0
"""A connection that takes longer does not keep others waiting: over Tor it may take 20 s. Among
more than `FIRST_TRY_HOSTS` it is longer."""

ECHO_SECONDS = 20.0
"""For all echoes of a connection, of which Tor may need half. TCP itself waits for up to two
minutes before it sends again what a busy path has lost."""

ANSWER_BYTES = 4096
"""Sent back at once. In smaller pieces they would be more packets than TCP sends before the first
acknowledgement (RFC 6928: ten), and take another round trip."""

FULL_BYTES = 3000
"""Two packets of Ethernet's size."""

FULL_SECONDS = 2.0
"""The path loses them if they have no answer for so long, while small ones had just passed."""

FULL_LOST = "small packets pass and full-sized ones do not; set a smaller mtu in e3:overlay-options"
TURN_SECONDS = 1.0
RESEND_MS = 5000
"""TCP's longest pause before it sends again what was lost, where the kernel lets one choose."""

TCP_RTO_MAX_MS = 44
"""tcp(7), Linux 6.15; the socket module has no name for it."""


def resend_soon(connection: socket.socket) -> None:
    """Limit TCP's pauses to `RESEND_MS` where the kernel can."""
    with suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RESEND_MS)


class Answerer:
    """The end of a connection that a peer opened: sends back whatever arrives."""

    def __init__(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        """Answer on ``connection`` until the peer closes it."""
        self._selector, self._connection = selector, connection
        self._unsent = b""
        connection.settimeout(0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        resend_soon(connection)
        selector.register(connection, selectors.EVENT_READ, self.answer)

    def answer(self) -> None:
        """Read what has arrived and send it back; read no more while the peer does not."""
        try:
            self._unsent = self._unsent or self._connection.recv(ANSWER_BYTES)
            if not self._unsent:
                raise ConnectionError
            self._unsent = self._unsent[self._connection.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._selector.unregister(self._connection)
            self._connection.close()
            return
        wanted = selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ
        self._selector.modify(self._connection, wanted, self.answer)


class Peer:
    """A host to connect to, and what came of it so far."""

    def __init__(self, name: str, address: str, patience: float) -> None:
        """Wait ``patience`` seconds for the first attempt to connect."""
        self.name, self.address, self.patience = name, address, patience
        self.queued = False
        """An attempt has begun, or is the next one; no other is due."""
        self.attempts: list[Attempt] = []
        """Those that are open, the newest last; only a single one is connected."""
        self.error = "timed out"
        self.full_at = math.inf
        """When all but the data that fills packets had come back."""

    @property
    def connected(self) -> bool:
        """An attempt is connected."""
        return any(attempt.connected for attempt in self.attempts)

    @property
    def reason(self) -> str:
        """Why it is not met."""
        lost = time.monotonic() - self.full_at >= FULL_SECONDS
        return FULL_LOST if lost else self.error


class Attempt:
    """An attempt to exchange data with a peer."""

    def __init__(self, peer: Peer, connection: socket.socket) -> None:
        """Use ``connection``, which is being opened."""
        self.peer, self.connection = peer, connection
        self.connected = self.over = False
        self.counts = True
        """It is one of those that are opened at once."""
        self.sent = b""
        self.received = 0
        """Bytes of what was sent that have come back."""
        self.sent_at: list[float] = []
        """When each greeting was sent."""
        self.seconds: list[float] = []
        """How long each echo took."""


class Prober:
    """Meets every peer of a task, and answers all of them."""

    def __init__(  # noqa: PLR0913 - the fields of the task
        self,
        server: socket.socket,
        *,
        name: str,
        address: str,
        port: int,
        peers: Mapping[str, str],
        first: Collection[str],
        seconds: float,
    ) -> None:
        """Answer at ``server``; the peers are met by `run`."""
        self._own, self._port = address, port
        self._greeting = f"e3-probe {name}\n".encode()
        self._server = server
        self._deadline = time.monotonic() + seconds
        hosts = len(peers) + 1
        slowness = max(1.0, hosts / FIRST_TRY_HOSTS)
        patience = FIRST_TRY_SECONDS * slowness
        self._opening_seconds = OPENING_SECONDS * slowness
        self._pause = max(RETRY_SECONDS, hosts * hosts / MOST_TRIES_A_SECOND)
        self._most_opening = max(LEAST_OPENING, MOST_OPENING // hosts)
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._ready: deque[Peer] = deque()
        self._opening = 0
        self.rtt_ms: dict[str, float] = {}
        self.met_at: dict[str, float] = {}
        self.over = False
        """The standard input has ended."""
        self.peers = [Peer(other, at, patience) for other, at in peers.items()]
        self._by_address = {peer.address: peer for peer in self.peers}
        self._later = frozenset(first)
        server.settimeout(0)
        self._selector.register(server, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._hear)

    def run(self) -> None:
        """Return once all peers are met, or the time is over."""
        now = time.monotonic()
        for peer in self.peers:
            turn = TURN_SECONDS if peer.name in self._later else 0.0
            self._at(now + turn, partial(self._queue, peer))
        while len(self.rtt_ms) < len(self.peers) and not self.over:
            if time.monotonic() >= self._deadline:
                break
            self._turn()

    def answer(self) -> None:
        """Answer others until the standard input ends."""
        self._timers.clear()
        self._ready.clear()
        while not self.over:
            self._select(None)

    def _turn(self) -> None:
        """Do what is due, and wait for what comes next."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        while self._ready and self._opening < self._most_opening:
            peer = self._ready.popleft()
            if not peer.connected:
                self._try(peer)
        due = self._timers[0][0] if self._timers else self._deadline
        self._select(max(0.0, min(due, self._deadline) - time.monotonic()))

    def _select(self, seconds: float | None) -> None:
        for key, _ in self._selector.select(seconds):
            key.data()

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (when, next(self._numbers), act))

    def _hear(self) -> None:
        self.over = not os.read(sys.stdin.fileno(), ANSWER_BYTES)

    def _accept(self) -> None:
        while True:
            try:
                connection, source = self._server.accept()
            except BlockingIOError:
                return
            except OSError:  # the peer has gone, or no descriptor is left
                time.sleep(RETRY_SECONDS)
                return
            Answerer(self._selector, connection)
            peer = self._by_address.get(source[0])
            if peer is not None and peer.name in self._later:
                self._queue(peer)

    def _queue(self, peer: Peer) -> None:
        if not peer.queued:
            peer.queued = True
            self._ready.append(peer)

    def _try(self, peer: Peer) -> None:
        """Begin to connect to a peer."""
        for older in peer.attempts[: 1 - MOST_ATTEMPTS]:
            self._end(older)
        family = socket.AF_INET6 if ":" in peer.address else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        resend_soon(connection)
        attempt = Attempt(peer, connection)
        peer.attempts.append(attempt)
        self._opening += 1
        act = partial(self._connected, attempt)
        self._selector.register(connection, selectors.EVENT_WRITE, act)
        try:
            connection.bind((self._own, 0))
            connection.connect((peer.address, self._port))
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(attempt, str(error))
            return
        now = time.monotonic()
        self._at(now + peer.patience, partial(self._expire, attempt))
        self._at(now + self._opening_seconds, partial(self._count_no_more, attempt))

    def _count_no_more(self, attempt: Attempt) -> None:
        if attempt.counts:
            attempt.counts = False
            self._opening -= 1

    def _expire(self, attempt: Attempt) -> None:
        """Let another attempt begin beside one that is not connected yet.

        The first packet may be lost while a path is made, which would cost the long retransmission
        time-outs of TCP. Or the path is made just now, and the answer on its way.
        """
        if not attempt.connected and not attempt.over:
            attempt.peer.error = "timed out"
            self._count_no_more(attempt)
            self._try_later(attempt.peer)

    def _connected(self, attempt: Attempt) -> None:
        if attempt.over:  # another one was connected at the same moment
            return
        code = attempt.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(attempt, str(OSError(code, os.strerror(code))))
            return
        for other in [each for each in attempt.peer.attempts if each is not attempt]:
            self._end(other)
        attempt.connected = attempt.peer.queued = True
        attempt.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        act = partial(self._read, attempt)
        self._selector.modify(attempt.connection, selectors.EVENT_READ, act)
        self._at(time.monotonic() + ECHO_SECONDS, partial(self._give_up, attempt))
        self._greet(attempt)

    def _give_up(self, attempt: Attempt) -> None:
        if not attempt.over:
            self._fail(attempt, attempt.peer.reason)

    def _greet(self, attempt: Attempt) -> None:
        """Send a greeting; after the last one what fills packets, and the next one later."""
        if attempt.over:
            return
        now = time.monotonic()
        attempt.sent_at.append(now)
        last = len(attempt.sent_at) == GREETINGS
        full = [self._greeting * (FULL_BYTES // len(self._greeting) + 1)] if last else []
        try:
            for data in (self._greeting, *full):
                attempt.connection.send(data)  # it fits into the buffer, so it is sent whole
                attempt.sent += data
        except OSError as error:
            self._fail(attempt, str(error))
            return
        if not last:
            self._at(now + APART_SECONDS, partial(self._greet, attempt))

    def _read(self, attempt: Attempt) -> None:
        """Read a part of the echoes; after the last one the peer is met."""
        begin = attempt.received
        try:
            data = attempt.connection.recv(max(len(attempt.sent) - begin, 1))
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(attempt, str(error))
            return
        attempt.received += len(data)
        if not data:
            self._fail(attempt, "closed before it answered")
        elif attempt.sent[begin : attempt.received] != data:
            self._fail(attempt, "answered with something else")
        else:
            self._hear_echoes(attempt)

    def _hear_echoes(self, attempt: Attempt) -> None:
        peer, now = attempt.peer, time.monotonic()
        heard = min(attempt.received // len(self._greeting), GREETINGS)
        if heard > len(attempt.seconds):
            attempt.seconds += [now - at for at in attempt.sent_at[len(attempt.seconds) : heard]]
            self.met_at.setdefault(peer.name, now)
            if heard == GREETINGS:
                peer.full_at, peer.error = now, "timed out"
        if heard == GREETINGS and attempt.received == len(attempt.sent):
            self._end(attempt)
            self.rtt_ms[peer.name] = min(attempt.seconds) * 1000

    def _fail(self, attempt: Attempt, why: str) -> None:
        """Try again after a pause, unless a newer attempt is under way."""
        peer = attempt.peer
        newest = attempt is peer.attempts[-1]
        self._end(attempt)
        peer.error, peer.full_at = why, math.inf
        if newest:
            self._try_later(peer)

    def _try_later(self, peer: Peer) -> None:
        now = time.monotonic()
        peer.patience = min(2 * peer.patience, max(self._deadline - now, RETRY_SECONDS))
        peer.queued = False
        self._at(now + self._pause, partial(self._queue, peer))

    def _end(self, attempt: Attempt) -> None:
        attempt.over = True
        attempt.peer.attempts.remove(attempt)
        self._selector.unregister(attempt.connection)
        attempt.connection.close()
        self._count_no_more(attempt)


def report(findings: dict[str, object]) -> None:
    """Write the one line of the answer."""
    sys.stdout.write(json.dumps(findings) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the task, connect to every peer, report, and answer until the input ends."""
    task = json.loads(sys.stdin.readline())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    family = socket.AF_INET6 if ":" in task["address"] else socket.AF_INET
    try:
        server = socket.create_server(
            (task["address"], task["port"]), family=family, backlog=len(task["peers"]) + 1
        )
    except OSError as error:
        reason = f"cannot listen on {task['address']} port {task['port']}: {error.strerror}"
        report({"rtt_ms": {}, "ago": {}, "errors": {task["name"]: reason}})
        return
    prober = Prober(server, **task)
    prober.run()
    now = time.monotonic()
    met = prober.rtt_ms
    ago = {name: now - at for name, at in prober.met_at.items() if name in met}
    errors = {peer.name: peer.reason for peer in prober.peers if peer.name not in met}
    report({"rtt_ms": met, "ago": ago, "errors": errors})
    prober.answer()


if __name__ == "__main__":
    main()
