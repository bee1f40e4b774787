"""What the tunnels of a session carry: paired with wireguard-go with a TUN device, set up by hand.

On two hosts of a lab without latency, in turn: the wireguard-go that E3 builds, by its manual; and
`e3-tunnel` in each mode. `namespace` is what an ordinary user has where namespaces are
permitted, `userspace` what everybody has. One TCP stream by iperf3, round trips of 64 bytes over
TCP. On one processor the ratio is that of the work for a byte; on all it also depends on where
Linux places what runs.

    python -m bench.tunnel --repetitions 5
"""

import argparse
import asyncio
import json
import os
import statistics
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import by_hand
from bench.overlays import hosts_of
from e3.interfaces import Host
from e3.tunnel import PROGRAM, Mode, Open, Peer, Tunnel, over

LEAST_RATIO = {"tun": 0.9, "namespace": 0.9, "userspace": 0.5, "tls": 0.5}
"""Of the throughput by hand."""

STREAM_SECONDS, OMITTED_SECONDS = 3, 1
ROUND_TRIPS = 2000
LIMIT_SECONDS = 60.0
ECHO_PORT, STREAM_PORT = 5202, 5201
PSK = "A" * 43 + "="
ECHO = Path(__file__).with_name("echo_tcp.py")


@dataclass(frozen=True)
class Way:
    """How the first host reaches the second one: commands of both, and where to connect."""

    first: Sequence[str]
    second: Sequence[str]
    stream: tuple[str, int]
    echo: tuple[str, int]


@dataclass
class Figures:
    """Of each repetition."""

    mbit_per_second: list[float] = field(default_factory=list)
    round_trip_us: list[float] = field(default_factory=list)


Opening = Callable[[Sequence[Host]], AbstractAsyncContextManager[Way]]


@asynccontextmanager
async def hand(hosts: Sequence[Host]) -> AsyncIterator[Way]:
    """Set up wireguard-go as its manual does."""
    async with by_hand.wireguard(hosts, hosts[0]) as address:
        yield Way((), (), (address, STREAM_PORT), (address, ECHO_PORT))


def of_mode(mode: Mode) -> Opening:
    """Return what sets up E3's own tunnel in that mode."""

    @asynccontextmanager
    async def opening(hosts: Sequence[Host]) -> AsyncIterator[Way]:
        async with AsyncExitStack() as stack:
            tunnels: list[Tunnel] = []
            for host in hosts:
                program = [f"{host.tools}/{PROGRAM}", "party"]
                process = await stack.enter_async_context(host.access.attach(program))
                tunnels.append(await stack.enter_async_context(over(process)))
            await _met(tunnels, mode)
            yield await _way(mode, hosts, tunnels)

    return opening


async def _met(tunnels: Sequence[Tunnel], mode: Mode) -> None:
    """Open both ends and return once data passes between them."""
    opened = [
        await tunnel.open(Open(pid=pid, mode=mode, address=f"10.201.0.{pid + 1}/24"))
        for pid, tunnel in enumerate(tunnels)
    ]
    async with asyncio.timeout(LIMIT_SECONDS):
        for tunnel in tunnels:
            await tunnel.until(lambda it: it.candidates is not None)
        for pid, tunnel in enumerate(tunnels):
            known = tunnels[1 - pid].candidates
            peer = Peer(
                pid=1 - pid,
                address=f"10.201.0.{2 - pid}",
                public_key=opened[1 - pid].public_key,
                psk=PSK,
                certificate=opened[1 - pid].certificate,
                candidates=known.candidates if known else (),
            )
            await tunnel.set_peer(peer)
        for tunnel in tunnels:
            await tunnel.until(lambda it: bool(it.up))


async def _way(mode: Mode, hosts: Sequence[Host], tunnels: Sequence[Tunnel]) -> Way:
    if mode in {"tun", "namespace"}:
        inside: list[list[str]] = [[], []]
        if mode == "namespace":  # the program knows the process by its number in another namespace
            found = [await _told(host, ["pgrep", "-f", "inside-namespace"]) for host in hosts]
            enter = ["-U", "-n", "--preserve-credentials", "--"]
            inside = [["nsenter", "-t", number.strip(), *enter] for number in found]
        first, second = inside
        return Way(first, second, ("10.201.0.2", STREAM_PORT), ("10.201.0.2", ECHO_PORT))
    places = []
    for port in (STREAM_PORT, ECHO_PORT):
        await tunnels[1].serve(port, f"127.0.0.1:{port}")
        address, _, local = (await tunnels[0].dial(1, port)).rpartition(":")
        places.append((address, int(local)))
    return Way((), (), *places)


WAYS: dict[str, Opening] = {
    "by hand": hand,
    "tun": of_mode("tun"),
    "namespace": of_mode("namespace"),
    "userspace": of_mode("userspace"),
    "tls": of_mode("tls"),
}


async def measured(way: Way, hosts: Sequence[Host]) -> tuple[float, float]:
    """Return Mbit/s of a stream and the median round trip in microseconds."""
    first, second = hosts
    await _serve(second, way.second, ["iperf3", "-s", "-1", "-p", str(STREAM_PORT)], STREAM_PORT)
    address, port = way.stream
    times = ["-t", str(STREAM_SECONDS), "-O", str(OMITTED_SECONDS)]
    stream = ["iperf3", "-J", "-c", address, "-p", str(port), *times]
    result = json.loads(await _told(first, [*way.first, *stream]))
    python = [second.python, "-I", str(ECHO)]
    await _serve(second, way.second, [*python, "serve", str(ECHO_PORT)], ECHO_PORT)
    address, port = way.echo
    trip = await _told(first, [*way.first, *python, "ask", address, str(port), str(ROUND_TRIPS)])
    return float(result["end"]["sum_received"]["bits_per_second"]) / 1e6, float(trip)


async def _serve(host: Host, inside: Sequence[str], argv: Sequence[str], port: int) -> None:
    """Start a server that ends after one client, and return once it listens."""
    await _told(host, ["sh", "-c", '"$@" >/dev/null 2>&1 &', "sh", *inside, *argv])
    waiting = f"until ss -Hltn sport = :{port} | grep -q .; do sleep 0.02; done"
    await _told(host, [*inside, "sh", "-c", waiting])


async def _told(host: Host, argv: Sequence[str]) -> str:
    done = await host.access.run(argv, timeout_seconds=LIMIT_SECONDS)
    if done.exit:
        raise SystemExit(f"{host.name}: {argv}: {done.complaint}")
    return done.stdout.decode()


async def compare(
    hosts: Sequence[Host], ways: Sequence[str], repetitions: int
) -> dict[str, Figures]:
    """Measure each way in turn, so many times."""
    figures = {name: Figures() for name in ways}
    for _ in range(repetitions):
        for name in ways:
            async with WAYS[name](hosts) as way:
                carried, round_trip = await measured(way, hosts)
            figures[name].mbit_per_second.append(round(carried, 1))
            figures[name].round_trip_us.append(round(round_trip, 1))
    return figures


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure what tunnels of sessions carry.")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    parser.add_argument("ways", metavar="WAY", nargs="*", default=list(WAYS))
    options = parser.parse_args(argv)
    everywhere = os.sched_getaffinity(0)
    result: dict[str, object] = {"load_average": os.getloadavg()[0]}
    for place, processors in (("one", {max(everywhere)}), ("all", everywhere)):
        os.sched_setaffinity(0, processors)  # what is started from here on inherits it
        try:
            with hosts_of({"here": 2}, latency=False) as hosts:
                each = asyncio.run(compare(hosts, options.ways, options.repetitions))
        finally:
            os.sched_setaffinity(0, everywhere)
        result[place] = {name: asdict(figures) for name, figures in each.items()}
        _print(place, each)
    return {"tunnel": result}


def _print(place: str, each: dict[str, Figures]) -> None:
    base = statistics.median(each["by hand"].mbit_per_second) if "by hand" in each else 0.0
    for name, figures in each.items():
        carried = statistics.median(figures.mbit_per_second)
        trip = statistics.median(figures.round_trip_us)
        line = f"{name:10} on {place} {carried:7.0f} Mbit/s, {trip:5.0f} us a round trip"
        if base and name in LEAST_RATIO:
            ratio, least = carried / base, LEAST_RATIO[name]
            mark = "OK  " if ratio >= least else "MISS"
            line = f"{mark} {line}; {ratio:.2f} of that by hand, at least {least}"
        print(line)


if __name__ == "__main__":
    main()
