"""Round trips between the regions of a lab, measured by ICMP echo from host to host."""

import itertools
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from e3.errors import LabError
from e3.impairments import Pair
from e3.lab import linux, wire
from e3.lab.state import LabState

ECHO_REQUEST, ECHO_REPLY = 8, 0
PROBES = 5
BUSY_SECONDS, PAUSE_SECONDS = 6.0, 0.02  # for pairs that are late, as on a busy machine
SPARE_SECONDS = 0.5  # a later answer is off by too much anyway
TOLERANCE, TOLERANCE_MS = 0.1, 1.0
Probe = tuple[str, str]  # network namespace, address


@dataclass(frozen=True)
class _EchoPath:
    """A pair of regions with the socket and address that measure it."""

    pair: Pair
    source: socket.socket
    target: str


def fork(state: LabState, connection: socket.socket) -> int:
    """Measure in a new process, which answers over ``connection``; return its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        state.die_with_daemon()
        connection.settimeout(10)
        try:
            answer = {"rtt_ms": [[*pair, rtt_ms] for pair, rtt_ms in _measure(state).items()]}
        except Exception as error:  # noqa: BLE001 - the client reports it
            answer = wire.from_error(error)
        wire.send(connection, answer)
        status = 0
    finally:
        os._exit(status)


def deviations(
    measured: Mapping[Pair, float | None],
    asked: Mapping[Pair, float],
    slack_ms: Mapping[Pair, float],
) -> list[str]:
    """Return a phrase for each pair that is off by more than 10 % and more than 1 ms; pure.

    ``slack_ms`` is how much longer each may take besides.
    """
    wrong = []
    for pair, rtt_ms in measured.items():
        where = f"{pair[0]}-{pair[1]}"
        if rtt_ms is None:
            wrong.append(f"{where} does not answer")
            continue
        off_ms, may_ms = rtt_ms - asked[pair], max(TOLERANCE * asked[pair], TOLERANCE_MS)
        if not -may_ms <= off_ms <= may_ms + slack_ms[pair]:
            wrong.append(f"{where} takes {rtt_ms:.1f} ms instead of {asked[pair]:.1f} ms")
    return wrong


def _measure(state: LabState) -> dict[Pair, float]:
    probes = state.probes()
    asked: dict[Pair, float] = {}
    slack_ms: dict[Pair, float] = {}
    paths = []
    for one, other in _pairs(probes):
        slack = state.slack_ms(one, other)
        if slack is None:
            continue
        slack_ms[one, other] = slack
        asked[one, other] = state.asked_rtt_ms(one, other)
        target = probes[other][-1 if one == other else 0][1]
        paths.append(_EchoPath((one, other), _echo_socket(probes[one][0][0]), target))
    measured: dict[Pair, float | None] = dict.fromkeys(asked)
    numbers = itertools.count()
    end = time.monotonic() + BUSY_SECONDS
    for attempt in itertools.count():
        # on a busy machine some echoes are late: a pair that is off so far is measured again
        late = [
            f for f in paths if attempt < PROBES or _may_improve(f.pair, measured, asked, slack_ms)
        ]
        if not late or (attempt >= PROBES and time.monotonic() > end):
            break
        limit_seconds = max(asked[f.pair] for f in late) / 1000 + SPARE_SECONDS
        _send_echoes(late, numbers, limit_seconds, measured)
        time.sleep(PAUSE_SECONDS if attempt >= PROBES else 0)
    wrong = deviations(measured, asked, slack_ms)
    if wrong:
        raise LabError(
            f"the lab's round trips are off: {'; '.join(wrong)}; is this machine overloaded?"
        )
    return {pair: rtt_ms for pair, rtt_ms in measured.items() if rtt_ms is not None}


def _pairs(probes: Mapping[str, Sequence[Probe]]) -> list[Pair]:
    """Return every pair of regions, and each region with itself that has two hosts."""
    names = list(probes)
    pairs = [(one, other) for i, one in enumerate(names) for other in names[i + 1 :]]
    return pairs + [(name, name) for name in names if len(probes[name]) > 1]


def _may_improve(
    pair: Pair,
    measured: Mapping[Pair, float | None],
    asked: Mapping[Pair, float],
    slack_ms: Mapping[Pair, float],
) -> bool:
    known = measured[pair]
    late = known is not None and known > asked[pair]
    return late and bool(deviations({pair: known}, asked, slack_ms))


def _send_echoes(
    paths: Sequence[_EchoPath],
    numbers: Iterator[int],
    limit_seconds: float,
    best: dict[Pair, float | None],
) -> None:
    """Send one echo over each path; keep in ``best`` the least round trip so far, in ms."""
    sent: dict[socket.socket, tuple[_EchoPath, int, float]] = {}
    for path in paths:
        # a raw socket receives every echo of its namespace, so each echo has its own number
        own = next(numbers) & 0xFFFF
        sent[path.source] = path, own, time.monotonic()
        path.source.sendto(_echo(own), (path.target, 0))
    end = time.monotonic() + limit_seconds
    while sent and (left := end - time.monotonic()) > 0:
        for source in select.select(list(sent), [], [], left)[0]:
            reply = source.recv(2048)
            now = time.monotonic()
            path, own, start = sent[source]
            if _is_answer(reply, own):
                del sent[source]
                rtt_ms, known = (now - start) * 1000, best[path.pair]
                best[path.pair] = rtt_ms if known is None else min(known, rtt_ms)


def _echo_socket(network: str) -> socket.socket:
    """Return an ICMP socket in that network namespace; root of the namespace may open one."""
    descriptor = os.open(network, os.O_RDONLY)
    try:
        with linux.inside_network(descriptor):
            return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    finally:
        os.close(descriptor)


def _echo(number: int) -> bytes:
    header = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, os.getpid() & 0xFFFF, number)
    total = sum(struct.unpack("!4H", header))
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return header[:2] + struct.pack("!H", checksum) + header[4:]


def _is_answer(packet: bytes, number: int) -> bool:
    start = (packet[0] & 0x0F) * 4
    kind, _, _, own, got = struct.unpack_from("!BBHHH", packet, start)
    return bool(kind == ECHO_REPLY and own == os.getpid() & 0xFFFF and got == number)
