"""The agreement: before any program starts, the parties check that they run the same.

The lower pid dials the higher one, at the same endpoint as MPyC will; both send their statement
(`e3.party.statement`). A party that has the statements of all others compares them. When all are
equal, it stops accepting connections, sends `AGREED` to everyone, and is done when it has `AGREED`
from everyone. A party that then starts MPyC finds only listeners that the agreement has left:
connections wait there until MPyC of that party accepts them.

An address decides which party a connection belongs to, see `e3.party.identity`. Connections of
strangers are closed unread.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from e3.party import frames
from e3.party.fields import Statement, differences, has_majorities
from e3.party.frames import AGREED, STATEMENT, Claim, ForeignError
from e3.party.identity import Addresses
from e3.party.links import (
    ACCEPTS,
    CLOSED,
    CLOSINGS,
    FLOOD_LINKS,
    GRACE_SECONDS,
    HALF,
    NO_ANSWER,
    OFF_SECONDS,
    SPARE_LINKS,
    STRANGERS,
    UNDECIDED_SECONDS,
    AgreementOutcome,
    BrokenOffError,
    Kind,
    PeerConnection,
    Times,
)
from e3.party.opening import Opened, call, calls_at_once, resend_soon, watch
from e3.party.protocol import Spec


class Agreement:
    """One party's side of the agreement."""

    def __init__(self, spec: Spec, statement: Statement, opened: Opened, fd: int) -> None:
        """Agree for party ``spec.pid``; ``fd`` is watched for messages of the deployer."""
        self._spec = spec
        self._own = statement
        self._listener, self._calls = opened
        self._peers = [pid for pid in range(len(spec.parties)) if pid != spec.pid]
        self._addresses = Addresses(
            spec.pid, [address for address, _ in spec.parties], spec.address_trust
        )
        self._statements: dict[int, Statement] = {spec.pid: statement}
        self._differing: set[int] = set()
        """Those whose statement differs from this party's where it must not."""
        self._times = Times.of(len(spec.parties))
        self._calls_at_once = calls_at_once(len(spec.parties))
        self._links: dict[int, PeerConnection] = {}
        """For each peer the connection that brought its statement, or that is being opened."""
        self._nameless: list[PeerConnection] = []
        """Accepted connections that have brought no statement yet."""
        self._redial: dict[int, float] = dict.fromkeys(self._peers[spec.pid :], 0.0)
        self._troubles: dict[int, tuple[Kind, str]] = {}
        """What happened with a peer that has sent no statement."""
        self._closed: dict[int, int] = {}
        """How often in a row a peer closed a connection to it before it sent anything."""
        self._called_off: tuple[int, int | None, str] | None = None
        """The party that called the agreement off, the peer that it blames, and why."""
        self._broken: tuple[int, str] | None = None
        """A peer whose connection ended after its statement and before `AGREED`, and how."""
        self._wordless: dict[str, int] = {}
        """How many connections of an address have brought no statement."""
        self._strangers: dict[str, int] = {}
        self._agreed: set[int] = set()
        self._consented = False
        self._until = time.monotonic() + spec.agree_seconds
        self._look_at = 0.0
        """When the next thing is due, at the earliest; not always looked for: parties are many."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(fd, selectors.EVENT_READ)
        self._fd = fd
        if self._listener is not None:
            self._listener.settimeout(0)
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def run(self, hear: Callable[[], bool], meanwhile: Iterator[object]) -> AgreementOutcome:
        """Return the outcome; ``hear`` handles the deployer's messages; False means stop.

        Takes a step of ``meanwhile`` whenever there is nothing to do. All connections are closed at
        the end; the listener stays open.
        """
        try:
            while not self._is_over():
                for key, _ in self._wait(meanwhile):
                    if key.fd == self._fd:
                        if not hear():
                            return AgreementOutcome("stopped")
                    elif key.fd in self._selector.get_map():  # not closed by an event before
                        key.data()
        except BrokenOffError as broken:
            found = differences(self._statements, must=True)
            outcome = replace(broken.outcome, found=found, strangers=self._strangers)
            self._call_off(outcome)
            return outcome
        finally:
            self._close()
        noted = differences(self._statements, must=False)
        return AgreementOutcome("agreed", noted=noted, strangers=self._strangers)

    def _is_over(self) -> bool:
        """Do what is due now; return whether all parties have agreed."""
        now = time.monotonic()
        if now > self._until:
            raise self._failure()
        if now >= self._look_at:
            self._do_what_is_due(now)
        if not self._consented and len(self._statements) == len(self._spec.parties):
            if self._differing:
                raise BrokenOffError("incompatible")
            links = [self._links.get(pid) for pid in self._peers]
            if all(link is not None and link.stated for link in links):
                self._consent()
        if not self._consented or len(self._agreed) < len(self._peers):
            return False
        return not any(link.outgoing for link in self._links.values())

    def _do_what_is_due(self, now: float) -> None:
        self._look_at = self._until
        for link in [*self._links.values(), *self._nameless]:
            if now > link.until:
                self._expire(link)
        for pid in [pid for pid, due in self._redial.items() if now >= due][: self._room()]:
            del self._redial[pid]
            self._dial(pid)
        links = [*self._links.values(), *self._nameless]
        redial = self._redial.values() if self._room() else ()
        for due in (*redial, *(link.until for link in links)):
            self._look_at = min(self._look_at, due)

    def _room(self) -> int:
        """Return how many more peers may be called now."""
        return max(self._calls_at_once - sum(link.connecting for link in self._links.values()), 0)

    def _wait(self, meanwhile: Iterator[object]) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what has happened; take steps of ``meanwhile`` until then."""
        while not (events := self._selector.select(0)):
            if next(meanwhile, None) is None:
                return self._selector.select(self._pause())
        return events

    def _pause(self) -> float:
        """Return the seconds until the next thing is due."""
        return max(min(self._look_at, self._until) - time.monotonic(), 0.0)

    def _limit(self, link: PeerConnection, seconds: float) -> None:
        """Let a connection expire after so many seconds."""
        link.until = time.monotonic() + seconds
        self._look_at = min(self._look_at, link.until)

    def _failure(self) -> BrokenOffError:
        """Return why the agreement has failed when time is up."""
        if self._differing:
            return BrokenOffError("incompatible")
        if self._called_off is not None:
            by, peer, detail = self._called_off
            return BrokenOffError("incompatible", peer, detail, by)
        if self._broken is not None:
            return BrokenOffError("unreachable", *self._broken)
        for pid in self._peers:
            if pid not in self._statements:
                return BrokenOffError(*self._describe(pid))
        missing = [pid for pid in self._peers if pid not in self._agreed]
        return BrokenOffError("unreachable", missing[0], "never said whether it agrees")

    def _describe(self, pid: int) -> tuple[Kind, int, str]:
        """Return what is known about a peer that never sent a statement."""
        if pid in self._troubles:
            kind, detail = self._troubles[pid]
            return kind, pid, detail
        link = self._links.get(pid)
        if link is None:
            return "unreachable", pid, "did not call"
        if link.connecting:
            return "unreachable", pid, NO_ANSWER
        return "incompatible", pid, HALF if link.incoming else "accepts connections, says nothing"

    def _consent(self) -> None:
        """Send `AGREED` to all others; from now on only MPyC may connect to this party."""
        self._consented = True
        if self._listener is not None:
            self._selector.unregister(self._listener)
        for link in self._nameless[:]:
            self._drop(link)
        for link in [*self._links.values()]:
            self._send(link, frames.pack(AGREED))

    def _call_off(self, outcome: AgreementOutcome) -> None:
        """Tell all connected parties why the agreement has failed, without waiting.

        A party that was told passes it on: otherwise others would blame it for its silence.
        """
        off = frames.pack_off(outcome.peer, outcome.detail)
        for link in self._links.values():
            if not link.connecting:
                with contextlib.suppress(OSError):
                    link.socket.send(link.outgoing + off)

    # Connections

    def _dial(self, pid: int) -> None:
        peer, (own, _) = self._spec.parties[pid], self._spec.parties[self._spec.pid]
        try:
            connection = self._calls.pop(pid, None) or call(
                peer, None if self._addresses.translated else own
            )
        except OSError as error:
            self._try_again(pid, f"cannot be dialled: {error.strerror}")
            return
        self._tend(connection)
        link = PeerConnection(connection, peer[0], pid, connecting=True)
        self._limit(link, self._times.attempt_seconds)
        self._links[pid] = link
        self._selector.register(connection, selectors.EVENT_WRITE, partial(self._connected, link))

    def _connected(self, link: PeerConnection) -> None:
        code = link.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._lose(link, f"{NO_ANSWER} ({os.strerror(code)})")
            return
        link.connecting = False
        link.until = self._until
        if self._redial:
            self._look_at = 0.0  # there is room for another
        self._selector.modify(link.socket, selectors.EVENT_READ, partial(self._act, link))
        self._state(link)

    def _tend(self, connection: socket.socket) -> None:
        """Set how the kernel treats a connection of the agreement."""
        resend_soon(connection)
        watch(connection, int(self._spec.agree_seconds) + 1, int(self._times.probe_seconds))

    def _accept(self) -> None:
        """Accept waiting connections, many at a time: else a flood would delay other parties."""
        with contextlib.suppress(OSError):  # no more connections wait
            for _ in range(ACCEPTS):
                connection, source = self._listener.accept()  # type: ignore[union-attr]  # it called
                self._admit(connection, str(source[0]))

    def _admit(self, connection: socket.socket, address: str) -> None:
        if not self._addresses.admits(address):
            connection.close()
            if address in self._strangers or len(self._strangers) < STRANGERS:
                self._strangers[address] = self._strangers.get(address, 0) + 1
            return
        connection.settimeout(0)
        self._tend(connection)
        link = PeerConnection(connection, address, None)
        self._limit(link, self._times.message_seconds)
        self._nameless.append(link)
        self._selector.register(connection, selectors.EVENT_READ, partial(self._act, link))
        self._wordless[address] = self._wordless.get(address, 0) + 1
        if self._wordless[address] > FLOOD_LINKS and not self._addresses.translated:
            self._blame(link, f"opened more than {FLOOD_LINKS} connections and stated nothing")
        of_same = [each for each in self._nameless if each.address == address]
        if len(of_same) > SPARE_LINKS + (len(self._peers) if self._addresses.translated else 0):
            self._drop(of_same[0])

    def _state(self, link: PeerConnection) -> None:
        """Send this party's statement."""
        claim = {"pid": self._spec.pid, "to": link.peer, "facts": dict(self._own)}
        self._send(link, frames.pack(STATEMENT, json.dumps(claim).encode()))

    def _send(self, link: PeerConnection, data: bytes = b"") -> None:
        link.outgoing += data
        try:
            while link.outgoing:
                del link.outgoing[: link.socket.send(link.outgoing)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(link, f"broke the connection ({error.strerror})")
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.outgoing else 0)
        self._selector.modify(link.socket, events, partial(self._act, link))

    def _act(self, link: PeerConnection) -> None:
        """Write what is left to write, and read what has arrived."""
        if link.outgoing:
            self._send(link)
        try:
            data = link.socket.recv(frames.LIMIT_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(link, f"broke the connection ({error.strerror})")
            return
        if not data:
            self._lose(link, HALF if link.incoming else CLOSED)
            return
        if not link.incoming and link.peer in self._statements:
            self._limit(link, self._times.message_seconds)
        link.incoming += data
        try:
            while message := frames.unpack(link.incoming, len(self._spec.parties)):
                link.until = self._until
                self._take(link, *message)
        except ForeignError as error:
            self._blame(link, str(error))

    # Messages

    def _take(self, link: PeerConnection, kind: int, body: bytes) -> None:
        if kind == STATEMENT:
            self._take_statement(link, frames.decode(body))
        elif link.peer is None or link.peer not in self._statements:
            raise ForeignError("answered before it was asked")
        elif kind == AGREED:
            self._agreed.add(link.peer)
        elif self._called_off is None:
            self._called_off = link.peer, *frames.decode_off(body, len(self._spec.parties))
            self._hurry(OFF_SECONDS)

    def _take_statement(self, link: PeerConnection, claim: Claim) -> None:
        pid = claim.pid
        if link.stated:
            raise ForeignError("stated twice")
        link.stated = True
        wrong = self._addresses.fault(link.address, pid, link.peer)
        if not wrong and claim.to != self._spec.pid:
            wrong = f"takes party {self._spec.pid} for party {claim.to}"
        if wrong:
            raise ForeignError(wrong)
        if link.peer is None:
            link.peer = pid
            self._nameless.remove(link)
            if pid in self._links:  # it reconnects: its earlier connection was broken
                self._drop(self._links.pop(pid))
            self._links[pid] = link
            self._state(link)
        self._statements[pid] = claim.facts
        if differences({self._spec.pid: self._own, pid: claim.facts}, must=True):
            self._differing.add(pid)
        else:
            self._differing.discard(pid)
        self._wordless.pop(link.address, None)
        self._troubles.pop(pid, None)
        if self._differing:
            found = differences(self._statements, must=True)
            decided = has_majorities(found, len(self._spec.parties))
            self._hurry(GRACE_SECONDS if decided else UNDECIDED_SECONDS)

    def _hurry(self, seconds: float) -> None:
        self._until = min(self._until, time.monotonic() + seconds)

    # Troubles

    def _blame(self, link: PeerConnection, what: str) -> None:
        """End the agreement because of what a party sent; ignore what strangers send."""
        pid = self._who(link)
        self._drop(link)
        if pid is not None:
            raise BrokenOffError("incompatible", pid, what)

    def _expire(self, link: PeerConnection) -> None:
        if link.connecting:
            self._lose(link, NO_ANSWER)
        elif link.incoming:
            self._lose(link, HALF)
        else:
            self._lose(link, "connected and said nothing")

    def _lose(self, link: PeerConnection, how: str) -> None:
        """Record that a connection ended; the lower pid tries again, within the limit."""
        pid, called = self._who(link), link.peer is not None and not link.connecting
        self._drop(link)
        if pid is None or self._links.get(pid) not in {None, link}:
            return
        if self._called_off is not None:  # all are leaving
            self._links.pop(pid, None)
            return
        if self._consented and pid not in self._agreed:
            self._links.pop(pid, None)
            self._broken = self._broken or (pid, f"{how} before it agreed")
            self._hurry(OFF_SECONDS)  # it may leave for a reason that others are about to send
            return
        if pid in self._agreed:
            return
        self._closed[pid] = self._closed.get(pid, 0) + 1 if called and how != HALF else 0
        if self._closed[pid] == CLOSINGS and not self._addresses.translated:
            raise BrokenOffError("incompatible", pid, "hangs up on E3's agreement, as MPyC does")
        if self._links.get(pid) is link:
            del self._links[pid]
        self._try_again(pid, how)

    def _try_again(self, pid: int, how: str) -> None:
        if how == HALF:
            self._troubles[pid] = ("incompatible", how)
        elif self._troubles.get(pid, ("unreachable", ""))[0] == "unreachable":
            self._troubles[pid] = ("unreachable", how)
        if pid > self._spec.pid:
            self._redial[pid] = time.monotonic() + self._times.retry_seconds
            self._look_at = min(self._look_at, self._redial[pid])

    def _who(self, link: PeerConnection) -> int | None:
        """Return the party at the other end of a connection, None if it is not known."""
        if link.peer is not None:
            return link.peer
        pids = self._addresses.parties_at(link.address)
        return pids[0] if len(pids) == 1 else None

    def _drop(self, link: PeerConnection) -> None:
        if link.socket.fileno() >= 0:
            if link.socket in self._selector.get_map():
                self._selector.unregister(link.socket)
            link.socket.close()
        link.outgoing.clear()
        if link in self._nameless:
            self._nameless.remove(link)

    def _close(self) -> None:
        for link in [*self._links.values(), *self._nameless]:
            self._drop(link)
        for connection in self._calls.values():
            connection.close()
        self._selector.close()
