"""Runs on a host: measures round trips to other hosts, and reads counters. Standard library only.

Attached, it reads a JSON line for each request and writes one for each answer:

``{"do": "listen", "addresses": [...], "port"}``: answer echoes there, over UDP and TCP.
``{"do": "echo", "from": [...], "port", "peers": {name: address}, "count", "gap_seconds",
"wait_seconds"}``: send echoes to each peer in turn; the answer has the round trips in ms by name,
None for each that did not come back, and ``transport``.
``{"do": "wire", "address"}``: the counters of the interface that has the address.

It ends when its standard input does. ``gauge.py usage`` prints one JSON line with the processor
time and memory of the daemons on the host, and its clocks; ``gauge.py usage reset`` also lets the
peak of their memory begin anew. ``gauge.py search`` prints which texts of a JSON line of its input,
in hexadecimal by label, the memory of those daemons holds: how often each, and how many bytes it
looked at.
"""

import fcntl
import json
import math
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
Address = tuple[Any, ...]

ASK, ANSWER = b"?", b"!"
HEADER = struct.Struct("!cQI")  # kind, number of the request, number of the echo
PAYLOAD_BYTES = 64
DATAGRAM_BYTES = 2048
SIOCGIFADDR = 0x8915
LISTENERS = 128
TCP_SECONDS = 5.0
MOST_BY_TCP = 5
"""Echoes over TCP, each of which waits for the one before."""

RESET_PEAK = "5"  # proc(5), clear_refs
OURS = "/e3-"
"""The cgroups of E3's services, where systemd keeps them running."""

MEMORY_PART_BYTES = 1 << 20
MOST_MEMORY_BYTES = 512 << 20
"""Of the daemons of a host together."""

COUNTERS = ("received_bytes", "received_packets", "sent_bytes", "sent_packets")
COLUMNS = (1, 2, 9, 10)


class Echoes:
    """The echoes of this host: those that it answers, and those that it sends."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._udp: dict[int, list[socket.socket]] = {socket.AF_INET: [], socket.AF_INET6: []}
        self._asked = 0
        self._by_tcp: set[str] = set()
        """The peers that answered over TCP alone: later they are not asked over UDP."""

        self._sent: dict[tuple[int, int], float] = {}
        self._came: dict[tuple[int, int], float] = {}
        self._all_came = threading.Event()
        self._expected = math.inf  # answers; known when all echoes are sent

    def listen(self, addresses: Sequence[str], port: int) -> None:
        """Answer at these addresses of this host."""
        for address in addresses:
            udp = socket.socket(family(address), socket.SOCK_DGRAM)
            udp.bind((address, port))
            self._udp[udp.family].append(udp)
            tcp = socket.create_server((address, port), family=family(address), backlog=LISTENERS)
            threading.Thread(target=self._receive, args=(udp,), daemon=True).start()
            threading.Thread(target=_accept, args=(tcp,), daemon=True).start()

    def ask(  # noqa: PLR0913, PLR0917 -- the fields of the request
        self,
        sources: Sequence[str],
        port: int,
        peers: Mapping[str, str],
        count: int,
        gap_seconds: float,
        wait_seconds: float,
    ) -> Answer:
        """Return the round trips to each peer in ms."""
        self._asked += 1
        self._sent.clear()
        self._came.clear()
        self._all_came.clear()
        self._expected = math.inf
        names = [name for name, address in peers.items() if address not in self._by_tcp]
        for number in range(count * len(names)):
            address = peers[names[number % len(names)]]
            self._send(number, address, sources, port)
            time.sleep(gap_seconds)
        self._expected = len(self._sent)
        if len(self._came) < self._expected:
            self._all_came.wait(wait_seconds)
        found = {
            name: [self._rtt_ms(number * len(names) + index) for number in range(count)]
            for index, name in enumerate(names)
        }
        silent = [name for name in peers if not any(map(_came, found.get(name, [])))]
        by_tcp = self._ask_by_tcp(sources, port, {name: peers[name] for name in silent}, count)
        return {
            name: {"transport": "tcp", "rtt_ms": by_tcp[name]}
            if by_tcp.get(name)
            else {"transport": "udp", "rtt_ms": found.get(name, [None] * count)}
            for name in peers
        }

    def _ask_by_tcp(
        self, sources: Sequence[str], port: int, peers: Mapping[str, str], count: int
    ) -> dict[str, list[float]]:
        """Return the round trips to each peer over TCP, all at once; remember who has any."""
        found: dict[str, list[float]] = {}

        def ask(name: str, address: str) -> None:
            found[name] = list(_ask_by_tcp(sources, (address, port), min(count, MOST_BY_TCP)))
            if found[name]:
                self._by_tcp.add(address)

        asking = [threading.Thread(target=ask, args=peer) for peer in peers.items()]
        for each in asking:
            each.start()
        for each in asking:
            each.join()
        return found

    def _send(self, number: int, address: str, sources: Sequence[str], port: int) -> None:
        data = HEADER.pack(ASK, self._asked, number).ljust(PAYLOAD_BYTES, b"\0")
        for udp in self._udp[family(address)]:
            if udp.getsockname()[0] in sources:
                self._sent[self._asked, number] = time.perf_counter()
                try:
                    udp.sendto(data, (address, port))
                except OSError:  # no route, or refused: it counts as lost
                    return
                return

    def _receive(self, udp: socket.socket) -> None:
        while True:
            try:
                data, peer = udp.recvfrom(DATAGRAM_BYTES)
            except OSError:  # what an earlier echo met: nobody listens there
                continue
            now = time.perf_counter()
            if len(data) != PAYLOAD_BYTES:
                continue
            kind, asked, number = HEADER.unpack_from(data)
            if kind == ASK:
                _answer(udp, ANSWER + data[1:], peer)
            elif kind == ANSWER and (asked, number) in self._sent:
                self._came.setdefault((asked, number), now)
                if len(self._came) >= self._expected:
                    self._all_came.set()

    def _rtt_ms(self, number: int) -> float | None:
        key = (self._asked, number)
        if key not in self._came:
            return None
        return round((self._came[key] - self._sent[key]) * 1000, 4)


def _came(rtt_ms: float | None) -> bool:
    return rtt_ms is not None


def _answer(udp: socket.socket, data: bytes, peer: Address) -> None:
    try:
        udp.sendto(data, peer)
    except OSError:  # its sender cannot be reached any more
        return


def _accept(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while data := connection.recv(DATAGRAM_BYTES):
                connection.sendall(data)
        except OSError:  # its peer has ended
            return


def _ask_by_tcp(sources: Sequence[str], peer: tuple[str, int], count: int) -> Iterator[float]:
    """Yield the round trips of echoes on one connection in ms; none if there is none."""
    own = [source for source in sources if family(source) == family(peer[0])]
    try:
        with socket.create_connection(
            peer, timeout=TCP_SECONDS, source_address=(own[0], 0) if own else None
        ) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(count):
                start, missing = time.perf_counter(), PAYLOAD_BYTES
                connection.sendall(bytes(PAYLOAD_BYTES))
                while missing and (data := connection.recv(missing)):
                    missing -= len(data)
                if missing:
                    return
                yield round((time.perf_counter() - start) * 1000, 4)
    except OSError:
        return


def family(address: str) -> socket.AddressFamily:
    """Return the family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def wire(address: str) -> Answer | None:
    """Return the counters of the interface that has the address; None if none has it."""
    name = _interface(address)
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        device, colon, values = line.partition(":")
        if colon and device.strip() == name:
            words = values.split()
            return {key: int(words[at - 1]) for key, at in zip(COUNTERS, COLUMNS, strict=True)}
    return None


def _interface(address: str) -> str | None:
    if ":" in address:
        packed = socket.inet_pton(socket.AF_INET6, address).hex()
        for line in Path("/proc/self/net/if_inet6").read_text().splitlines():
            words = line.split()
            if words[0] == packed:
                return words[-1]
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            try:
                found = fcntl.ioctl(any_socket, SIOCGIFADDR, request)[20:24]
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(found) == address:
                return name
    return None


def usage(*, reset: bool) -> Answer:
    """Return processor time in seconds and peak memory in bytes of the daemons; None if unknown.

    And what the host's clocks say, in seconds.
    """
    clocks = {
        "day": time.time(),
        "monotonic": time.monotonic(),
        "boot": time.clock_gettime(time.CLOCK_BOOTTIME),
    }
    daemons = _daemons()
    if daemons is None:
        return {"cpu_seconds": None, "peak_bytes": None, **clocks}
    ticks = peak = 0
    for pid in daemons:
        try:
            words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peak += int(line.split()[1]) * 1024
            if reset:
                Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)
        except OSError:  # it has ended, or is another user's
            continue
        ticks += sum(map(int, words[11:15]))  # also of its children that have ended
    cpu_seconds = round(ticks / os.sysconf("SC_CLK_TCK"), 3)
    return {"cpu_seconds": cpu_seconds, "peak_bytes": peak, **clocks}


def _daemons() -> list[int] | None:
    """Return the processes of the services on this host; None if they cannot be told apart.

    On a host of a lab, whoever enters it from outside is no descendant of its first process.
    """
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    first = Path("/proc/1/comm").read_text().strip()
    if first == "s6-svscan":
        parents = {pid: parent for pid in pids if (parent := _parent(pid)) is not None}
        return [pid for pid in parents if pid != 1 and _descends(pid, parents)]
    if first == "systemd":
        return [pid for pid in pids if OURS in _cgroup(pid)]
    return None


def _descends(pid: int, parents: Mapping[int, int]) -> bool:
    while pid > 1:
        pid = parents.get(pid, 0)
    return pid == 1


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def _cgroup(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""


def search(needles: Mapping[str, bytes]) -> Answer:
    """Return how often the memory of the daemons holds each text; None if they are not known."""
    daemons = _daemons()
    if daemons is None:
        return {"found": None, "bytes": 0}
    found, looked_at = dict.fromkeys(needles, 0), 0
    for pid in daemons:
        for part in _memory(pid, MOST_MEMORY_BYTES - looked_at):
            looked_at += len(part)
            for label, needle in needles.items():
                found[label] += part.count(needle)
    return {"found": found, "bytes": looked_at}


def _memory(pid: int, most: int) -> Iterator[bytes]:
    """Yield the memory that a process can write to, area by area, up to so many bytes."""
    try:
        areas = list(_areas(Path(f"/proc/{pid}/smaps").read_text().splitlines()))
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for begin, end in areas:
                place = begin
                while place < end and most > 0:
                    memory.seek(place)
                    part = memory.read(min(end - place, MEMORY_PART_BYTES, most))
                    if not part:
                        break
                    most -= len(part)
                    place += len(part)
                    yield part
    except (OSError, OverflowError):  # it has ended, or the kernel keeps an area to itself
        return


def _areas(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the areas of smaps that can be written to and of which a page is in memory."""
    area = (0, 0)
    for line in lines:
        words = line.split()
        if words[0] == "Rss:" and area[1] and int(words[1]):
            yield area
        elif not words[0].endswith(":") and "-" in words[0]:
            begin, end = (int(number, 16) for number in words[0].split("-"))
            area = (begin, end) if words[1].startswith("rw") else (0, 0)


def serve() -> None:
    """Answer the requests of standard input until it ends."""
    echoes = Echoes()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: object = _serve(echoes, request)
        except OSError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)  # noqa: T201 - that is the protocol


def _serve(echoes: Echoes, request: Answer) -> object:
    if request["do"] == "listen":
        echoes.listen(request["addresses"], request["port"])
        return {}
    if request["do"] == "wire":
        return {"wire": wire(request["address"])}
    return echoes.ask(
        request["from"],
        request["port"],
        request["peers"],
        request["count"],
        request["gap_seconds"],
        request["wait_seconds"],
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["usage"]:
        print(json.dumps(usage(reset=sys.argv[2:] == ["reset"])))  # noqa: T201 - the same
    elif sys.argv[1:2] == ["search"]:
        wanted = {label: bytes.fromhex(text) for label, text in json.load(sys.stdin).items()}
        print(json.dumps(search(wanted)))  # noqa: T201 - the same
    else:
        serve()
