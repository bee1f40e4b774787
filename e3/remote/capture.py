"""Counts the packets of a network namespace, and what can be read in them. Standard library only.

The first line of its input says what for, as JSON: ``needles``, texts in hexadecimal by label, and
``views``, for each view the begins of its interfaces' names, or ``["*"]`` for all but the loopback.
A view whose name ends with ``>`` takes only packets that leave. It answers with an empty line once
it captures (packet(7)). Each further line asks for what was captured since: JSON, by view, with

``packets``, ``bytes``; ``needles``: how many packets hold each text; ``pairs``: packets by source
and target address; ``series``, of such a view: the first packets as [nanoseconds, bytes, source,
target], the ends as places in ``addresses``; ``unseen``: packets that the kernel dropped as nobody
read them in time.

It ends when its input does, or after `MOST_SECONDS`. Packets are as the namespace has them: one may
be a segment of 64 KiB, which a device would cut.
"""

import json
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

EVERYTHING = 0x0003  # ETH_P_ALL
IPV4, IPV6 = 0x0800, 0x86DD
LEAVES = 4  # PACKET_OUTGOING
LEAVING = ">"
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_TIMESTAMPNS, SO_RCVBUFFORCE = 35, 33
STAMP = struct.Struct("@qq")
STATISTICS = struct.Struct("@II")
PACKET_BYTES = 70_000
BUFFER_BYTES = 64 << 20
MOST_PAIRS = 5_000
MOST_SERIES = 60_000
MOST_SECONDS = 3_600

Answer = dict[str, Any]


class View:
    """What was seen at some interfaces."""

    def __init__(self, needles: Mapping[str, bytes], most_series: int) -> None:
        """Count from zero; ``needles`` are the texts to look for, by name."""
        self._most_series = most_series
        self.packets = self.bytes = 0
        self._found = dict.fromkeys(needles, 0)
        self._needles = needles
        self._pairs: dict[tuple[str, str], int] = {}
        self._places: dict[str, int] = {}
        self._series: list[tuple[int, int, int, int]] = []

    def take(self, data: bytes, stamp: int) -> None:
        """Count an IP packet that was seen at a time in nanoseconds."""
        ends = addresses(data)
        if ends is None:
            return
        self.packets += 1
        self.bytes += len(data)
        for label, needle in self._needles.items():
            if needle in data:
                self._found[label] += 1
        if ends in self._pairs or len(self._pairs) < MOST_PAIRS:
            self._pairs[ends] = self._pairs.get(ends, 0) + 1
            if len(self._series) < self._most_series:
                source, target = (self._places.setdefault(e, len(self._places)) for e in ends)
                self._series.append((stamp, len(data), source, target))

    def answer(self) -> Answer:
        """Return what was seen."""
        return {
            "packets": self.packets,
            "bytes": self.bytes,
            "needles": self._found,
            "pairs": [[*ends, count] for ends, count in self._pairs.items()],
            "addresses": list(self._places),
            "series": self._series,
        }


class Capture:
    """A socket that sees every packet of this namespace, and its views."""

    def __init__(self, needles: Mapping[str, bytes], views: Mapping[str, Sequence[str]]) -> None:
        """Begin to capture."""
        self._needles, self._interfaces = needles, views
        self._views = self._fresh()
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(EVERYTHING))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        except OSError:  # an ordinary user gets what the system allows
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)

    def run(self) -> None:
        """Count packets for ever."""
        while True:
            select.select([self._socket], [], [])
            with self._lock:
                self._read()

    def answer(self) -> Answer:
        """Return what was seen since the last time, with what waits in the socket."""
        with self._lock:
            self._read()
            views, self._views = self._views, self._fresh()
            raw = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, STATISTICS.size)
        unseen = STATISTICS.unpack(raw)[1]
        return {name: {**view.answer(), "unseen": unseen} for name, view in views.items()}

    def _fresh(self) -> dict[str, View]:
        return {
            name: View(self._needles, MOST_SERIES if name.endswith(LEAVING) else 0)
            for name in self._interfaces
        }

    def _read(self) -> None:
        while True:
            try:
                data, notes, _, source = self._socket.recvmsg(
                    PACKET_BYTES, socket.CMSG_SPACE(STAMP.size), socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return
            name, protocol, kind = source[:3]
            if protocol not in {IPV4, IPV6}:
                continue
            stamp = _stamp(notes)
            for view, begins in self._interfaces.items():
                if view.endswith(LEAVING) and kind != LEAVES:
                    continue
                if name != "lo" if begins == ["*"] else name.startswith(tuple(begins)):
                    self._views[view].take(data, stamp)


def addresses(data: bytes) -> tuple[str, str] | None:
    """Return source and target of an IP packet; None if it is none."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:  # noqa: PLR2004 -- RFC 791
        return socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20])
    if version == 6 and len(data) >= 40:  # noqa: PLR2004 -- RFC 8200
        ends = (data[8:24], data[24:40])
        source, target = (socket.inet_ntop(socket.AF_INET6, end) for end in ends)
        return source, target
    return None


def _stamp(notes: Sequence[tuple[int, int, bytes]]) -> int:
    for level, kind, data in notes:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = STAMP.unpack(data[: STAMP.size])
            return int(seconds) * 10**9 + int(nanoseconds)
    return 0


def main() -> None:
    """Capture, and answer the lines of standard input."""
    signal.alarm(MOST_SECONDS)  # whoever asked may be gone, and its pipe held by another
    asked = json.loads(sys.stdin.readline())
    needles = {label: bytes.fromhex(text) for label, text in asked["needles"].items()}
    capture = Capture(needles, asked["views"])
    threading.Thread(target=capture.run, daemon=True).start()
    print(flush=True)  # noqa: T201 - that is the protocol
    for _ in sys.stdin:
        print(json.dumps(capture.answer()), flush=True)  # noqa: T201 - the same


if __name__ == "__main__":
    main()
