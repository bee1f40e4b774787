"""Measure the hosts of a cell: round trips, bytes on the wire, and what its daemons take.

A process on each host stays for the life of the cell, so that a measurement costs no start of an
interpreter; e3/remote/gauge.py is what runs there.
"""

import asyncio
import json
import statistics
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from e3.deployed import Stack
from e3.errors import E3Error, HostError
from e3.evaluation.diagnosis import measure_throughput
from e3.evaluation.fields import Count, Milliseconds, Number, Part, Seconds
from e3.evaluation.results import HostCost, Layer, RoundTrip, Throughput
from e3.handshakes import Marks, TellsHandshakes
from e3.interfaces import PROBE_PORT, File, Host, Network, Process
from e3.remote.tasks import gather_or_cancel
from e3.remote.text import printable

SCRIPT = Path(__file__).parents[2] / "remote" / "gauge.py"
ON_HOST = "/run/e3/gauge.py"
WAIT_SECONDS = 1.0
"""How long after the last echo answers count; a longer round trip counts as lost."""

LIMIT_SECONDS = 30.0
PACKETS_PER_SECOND = 2000
"""Of all hosts together: their echoes must not be a load of their own."""

NEAR_MS = 10.0
"""Round trips that differ by less are taken for equal."""

MOST_ECHOES = 100_000

Answer = TypeVar("Answer")


class Echoed(Part, frozen=True, kw_only=True):
    """What a host answers about the echoes to one peer; ``rtt_ms`` is None for each lost one."""

    transport: Annotated[str, Meta(pattern="^(udp|tcp)$")]
    rtt_ms: Annotated[list[Milliseconds | None], Meta(max_length=MOST_ECHOES)]


class Wire(Part, frozen=True, kw_only=True):
    """The counters of a host's underlay interface."""

    received_bytes: Count
    received_packets: Count
    sent_bytes: Count
    sent_packets: Count


class Found(Part, frozen=True, kw_only=True):
    """The counters of an interface; None if no interface has the address."""

    wire: Wire | None


class Usage(Part, frozen=True, kw_only=True):
    """What the daemons of a host have taken; None where they cannot be told from others.

    The others are what the host's clocks say, in seconds (`e3.evaluation.campaign.machine.Times`).
    """

    cpu_seconds: Seconds | None
    peak_bytes: Count | None
    day: Number
    monotonic: Number
    boot: Number


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of each host at a moment; ``handshakes`` is None where nothing tells them."""

    wire: Mapping[str, Wire | None]
    usage: Mapping[str, Usage]
    handshakes: Marks | None = None


class Gauges:
    """The measuring processes of a cell's hosts."""

    def __init__(self, stack: Stack, processes: Mapping[str, Process]) -> None:
        """Use these processes, by host; `open_gauges` starts them."""
        self._stack = stack
        self._processes = processes
        self._hosts = {host.name: host for host in stack.hosts}

    async def round_trips(
        self, count: int, layers: Sequence[Layer] = ("underlay", "overlay")
    ) -> list[RoundTrip]:
        """Return the round trips of each ordered pair that can be dialled, one layer at a time."""
        if not count:
            return []
        return [trip for layer in layers for trip in await self._echo(layer, count)]

    async def read(self, *, reset: bool = False) -> Reading:
        """Return the counters now; with ``reset`` the peak of memory begins anew."""
        hosts = list(self._hosts.values())
        if reset:  # before a session: the interface last, after all other traffic
            marks = await self._handshakes()
            usage = await gather_or_cancel(_usage(host, reset=True) for host in hosts)
            wire = await gather_or_cancel(map(self._wire, hosts))
        else:
            wire = await gather_or_cancel(map(self._wire, hosts))
            usage = await gather_or_cancel(_usage(host, reset=False) for host in hosts)
            marks = await self._handshakes()
        return Reading(
            wire={host.name: found for host, found in zip(hosts, wire, strict=True)},
            usage={host.name: found for host, found in zip(hosts, usage, strict=True)},
            handshakes=marks,
        )

    async def _handshakes(self) -> Marks | None:
        """Return what the overlay tells of its handshakes; a daemon that is gone tells nothing."""
        overlay = self._stack.overlay
        if isinstance(overlay, TellsHandshakes):
            with suppress(E3Error, TimeoutError):
                return await overlay.handshakes(self._stack.hosts, self._stack.network)
        return None

    async def listen(self) -> None:
        """Let each host answer echoes at all its addresses."""
        await gather_or_cancel(
            self._ask(
                host,
                {"do": "listen", "addresses": self._own(host), "port": PROBE_PORT},
                dict[str, str],
            )
            for host in self._hosts.values()
        )

    async def _echo(self, layer: Layer, count: int) -> list[RoundTrip]:
        gap_seconds = len(self._hosts) / PACKETS_PER_SECOND

        async def one(host: Host) -> list[RoundTrip]:
            peers = self._peers(host, layer)
            if not peers:
                return []
            request = {
                "do": "echo",
                "from": self._own(host)
                if layer == "underlay"
                else [self._stack.network.addresses[host.name]],
                "port": PROBE_PORT,
                "peers": peers,
                "count": count,
                "gap_seconds": gap_seconds,
                "wait_seconds": WAIT_SECONDS,
            }
            found = await self._ask(host, request, dict[str, Echoed])
            return [
                summary(host.name, target, layer, found[target])
                for target in peers
                if target in found
            ]

        return [
            trip
            for trips in await gather_or_cancel(map(one, self._hosts.values()))
            for trip in trips
        ]

    def _peers(self, host: Host, layer: Layer) -> dict[str, str]:
        """Return the addresses of the hosts that this one can dial on a layer."""
        others = [other for other in self._hosts.values() if other != host]
        if layer == "underlay":
            return {o.name: o.seen_from(host) for o in others if o.reachability == "public"}
        return {
            o.name: self._stack.network.addresses[o.name]
            for o in others
            if self._stack.overlay.needs.crosses_nats or o.reachability == "public"
        }

    def _own(self, host: Host) -> list[str]:
        own = [host.underlay, host.underlay6, self._stack.network.addresses[host.name]]
        return list(dict.fromkeys(filter(None, own)))

    async def _wire(self, host: Host) -> Wire | None:
        found = await self._ask(host, {"do": "wire", "address": host.underlay}, Found)
        return found.wire

    async def _ask(self, host: Host, request: Mapping[str, object], kind: type[Answer]) -> Answer:
        process = self._processes[host.name]
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                await process.stdin.drain()
                line = await process.stdout.readline()
        except (TimeoutError, OSError) as error:
            raise HostError(f"{host.name} does not answer measurements: {error}") from None
        return _decode(line, kind, host)


@asynccontextmanager
async def open_gauges(stack: Stack) -> AsyncIterator[Gauges]:
    """Start a measuring process on each host; they end with the context."""
    script = File(path=ON_HOST, content=SCRIPT.read_bytes())
    async with AsyncExitStack() as opened:

        async def start(host: Host) -> Process:
            await host.access.put([script], timeout_seconds=LIMIT_SECONDS)
            argv = [host.python, "-I", "-S", ON_HOST]
            return await opened.enter_async_context(host.access.attach(argv))

        processes = await gather_or_cancel(map(start, stack.hosts))
        gauges = Gauges(
            stack, {host.name: it for host, it in zip(stack.hosts, processes, strict=True)}
        )
        await gauges.listen()
        yield gauges


def summary(source: str, target: str, layer: Layer, echoed: Echoed) -> RoundTrip:
    """Return the figures of the echoes of one ordered pair. Pure."""
    came = [rtt_ms for rtt_ms in echoed.rtt_ms if rtt_ms is not None]
    steps = [abs(after - before) for before, after in pairwise(came)]
    return RoundTrip(
        source=source,
        target=target,
        layer=layer,
        transport="tcp" if echoed.transport == "tcp" else "udp",
        sent=len(echoed.rtt_ms),
        lost=len(echoed.rtt_ms) - len(came),
        least_ms=min(came, default=None),
        median_ms=round(statistics.median(came), 4) if came else None,
        most_ms=max(came, default=None),
        jitter_ms=round(statistics.fmean(steps), 4) if steps else None,
    )


def costs(before: Reading, after: Reading) -> list[HostCost]:
    """Return what happened on each host between two readings. Pure."""
    found = []
    for host, then in before.wire.items():
        now, began, ended = after.wire[host], before.usage[host], after.usage[host]
        cpu = None
        if began.cpu_seconds is not None and ended.cpu_seconds is not None:
            # a daemon that was started again begins at 0
            cpu = round(max(ended.cpu_seconds - began.cpu_seconds, 0.0), 3)
        found.append(
            HostCost(
                host=host,
                sent_wire_bytes=_more(then, now, "sent_bytes"),
                received_wire_bytes=_more(then, now, "received_bytes"),
                sent_packets=_more(then, now, "sent_packets"),
                received_packets=_more(then, now, "received_packets"),
                daemon_cpu_seconds=cpu,
                daemon_peak_memory_bytes=ended.peak_bytes,
            )
        )
    return found


def handshakes(before: Reading, after: Reading) -> int | None:
    """Return between how many pairs of hosts there was a handshake meanwhile. Pure."""
    if before.handshakes is None or after.handshakes is None:
        return None
    known = before.handshakes
    return len({frozenset(p) for p, mark in after.handshakes.items() if known.get(p) != mark})


def _more(then: Wire | None, now: Wire | None, counter: str) -> int | None:
    if then is None or now is None:
        return None
    return max(int(getattr(now, counter)) - int(getattr(then, counter)), 0)


async def throughput(
    stack: Stack, trips: Sequence[RoundTrip], *, pairs: int, seconds: float
) -> list[Throughput]:
    """Return the throughput of so many pairs on both layers, the farthest pairs first."""
    found = []
    hosts = {host.name: host for host in stack.hosts}
    below = Network(addresses={host.name: host.underlay for host in stack.hosts})
    for source, target in farthest(trips, pairs if seconds else 0):
        public = hosts[target].reachability == "public"
        layers: Iterator[tuple[Layer, Network]] = iter(
            [("underlay", below), ("overlay", stack.network)]
        )
        for layer, network in layers:
            if layer == "underlay" and not public:
                continue
            mbit = await measure_throughput(hosts[source], hosts[target], network, seconds)
            found.append(
                Throughput(source=source, target=target, layer=layer, mbit_per_second=mbit)
            )
    return found


def farthest(trips: Sequence[RoundTrip], count: int) -> list[tuple[str, str]]:
    """Return ordered pairs of hosts by falling round trip of the bare network. Pure.

    Each two hosts come once, from a host that can dial the other. Times are rounded, so that all
    overlays of a scenario get the same pairs.
    """
    pairs: dict[frozenset[str], tuple[int, str, str]] = {}
    for trip in sorted(trips, key=lambda trip: (trip.layer != "underlay", trip.source)):
        if trip.median_ms is not None:
            near = -round(trip.median_ms / NEAR_MS)
            pairs.setdefault(
                frozenset((trip.source, trip.target)), (near, trip.source, trip.target)
            )
    return [(source, target) for _, source, target in sorted(pairs.values())][:count]


async def _usage(host: Host, *, reset: bool) -> Usage:
    argv = [host.python, "-I", "-S", ON_HOST, "usage", *(["reset"] if reset else [])]
    done = await host.access.run(argv, timeout_seconds=LIMIT_SECONDS)
    return _decode(done.stdout, Usage, host)


def _decode(line: bytes, kind: type[Answer], host: Host) -> Answer:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError):
        said = printable(line.decode(errors="replace").strip()) or "nothing"
        raise HostError(f"{host.name} was asked to measure and said {said}") from None
