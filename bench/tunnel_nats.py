"""How soon two parties talk through NATs, and how soon they do again after a change of network.

Over a lab without latency, with a mediator's relay. Set-up counts from when both know each other's
candidates until the handshake is done at both; with `opened` also what gathering takes. Healing
counts from the change until a round trip is done on the inner connection of before.

    python -m bench.tunnel_nats --repetitions 5
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.tunnel import LIMIT_SECONDS, PSK
from e3.interfaces import Process
from e3.lab import client
from e3.lab.client import HostHandle, Lab
from e3.nats import Reachability
from e3.tunnel import (
    PROGRAM,
    Grant,
    Open,
    Opened,
    Peer,
    RelayGrant,
    RelayOpen,
    Tunnel,
    over,
    relay_over,
    token,
)

PAIRS: Sequence[tuple[Reachability, Reachability, str, float]] = (
    ("public", "public", "host", 1.0),
    ("port-restricted", "port-restricted", "reflexive", 1.0),
    ("port-restricted", "symmetric", "relay", 4.0),
    ("symmetric", "symmetric", "relay", 4.0),
    ("udp-blocked", "udp-blocked", "tcp-relay", 4.0),
)
"""The classes of both, the path that they should get, and the seconds at most."""

HEALED_SECONDS = 5.0
UDP_PORTS, TCP_PORT, PORT, LOCAL = (3478, 3479), 443, 5300, 5301
ECHO = Path(__file__).with_name("echo_tcp.py")
BLOCK = (
    "add table inet bench; add chain inet bench out { type filter hook output priority 0; };"
    " add rule inet bench out meta l4proto udp drop"
)
CALL = (
    "import socket, sys\n"
    "with socket.create_connection(('127.0.0.1', int(sys.argv[1])), 10) as connection:\n"
    "    for _ in sys.stdin:\n"
    "        connection.sendall(bytes(64))\n"
    "        connection.recv(64, socket.MSG_WAITALL)\n"
    "        print(flush=True)\n"
)


@dataclass(frozen=True)
class Pair:
    """Two parties that know each other, and how long that took."""

    tunnels: Sequence[Tunnel]
    opened: Sequence[Opened]
    kind: str
    gathered_seconds: float
    up_seconds: float


@contextmanager
def lab_of(kinds: Sequence[Reachability]) -> Iterator[tuple[Lab, list[HostHandle]]]:
    """Hold a mediator and a host of each of these classes, without latency."""
    with tempfile.TemporaryDirectory(prefix="e3-bench-") as folder:
        try:
            lab = client.start(Path(folder), {("a", "a"): 0.0})
            lab.add_region("a")
            names = {f"h-{i}": kind for i, kind in enumerate(kinds)}
            hosts = lab.add_hosts([("m", "a"), *((name, "a") for name in names)], names)
            yield lab, hosts
        finally:
            client.stop(Path(folder))


@asynccontextmanager
async def met(hosts: Sequence[HostHandle], *, relayed: bool = True) -> AsyncIterator[Pair]:
    """Run the relay on the first host, and let the other two meet."""
    mediator, *two = hosts
    program = f"{mediator.host().tools}/{PROGRAM}"
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(mediator.access.attach([program, "relay"]))
        relay = await stack.enter_async_context(relay_over(process))
        await relay.open(RelayOpen(udp=UDP_PORTS, tcp=TCP_PORT))
        tokens = (token(), token())
        limits = {"bytes": 1 << 34, "seconds": 600.0, "bytes_per_second": 1 << 30}
        await relay.grant(RelayGrant(tokens=tokens, **limits))  # type: ignore[arg-type]
        tunnels = []
        for host in two:
            process = await stack.enter_async_context(host.access.attach([program, "party"]))
            tunnels.append(await stack.enter_async_context(over(process)))
        began = time.monotonic()
        servers = tuple(f"{mediator.underlay}:{port}" for port in UDP_PORTS)
        opened = [
            await tunnel.open(
                Open(pid=i, mode="userspace", address=f"10.201.0.{i + 1}/24", stun=servers)
            )
            for i, tunnel in enumerate(tunnels)
        ]
        async with asyncio.timeout(LIMIT_SECONDS):
            for tunnel in tunnels:
                await tunnel.until(lambda it: it.candidates is not None)
            gathered = time.monotonic()
            for i, tunnel in enumerate(tunnels):
                places = {"udp": f"{mediator.underlay}:{UDP_PORTS[0]}"}
                places["tcp"] = f"{mediator.underlay}:{TCP_PORT}"
                grant = Grant(token=tokens[i], **places) if relayed else None
                await tunnel.set_peer(known(1 - i, opened[1 - i], tunnels[1 - i], grant))
            for tunnel in tunnels:
                await tunnel.until(lambda it: bool(it.up))
        up = time.monotonic()
        kind = tunnels[0].paths[1].kind
        yield Pair(tunnels, opened, kind, gathered - began, up - gathered)


def known(pid: int, end: Opened, tunnel: Tunnel, grant: Grant | None = None) -> Peer:
    """Return what the other party is told of party ``pid``."""
    return Peer(
        pid=pid,
        address=f"10.201.0.{pid + 1}",
        public_key=end.public_key,
        psk=PSK,
        certificate=end.certificate,
        candidates=tunnel.candidates.candidates if tunnel.candidates else (),
        relay=grant,
    )


@asynccontextmanager
async def calling(hosts: Sequence[HostHandle], pair: Pair) -> AsyncIterator[Process]:
    """Hold a connection through the tunnel that makes a round trip for each line."""
    _, first, second = hosts
    python = second.host().python
    echo = [python, "-I", str(ECHO), "serve", str(LOCAL)]
    async with second.access.attach(echo) as echoing:
        await echoing.stdout.readline()
        await pair.tunnels[1].serve(PORT, f"127.0.0.1:{LOCAL}")
        local = await pair.tunnels[0].dial(1, PORT)
        async with first.access.attach([python, "-c", CALL, local.rpartition(":")[2]]) as caller:
            await trip(caller)
            yield caller


async def trip(caller: Process) -> None:
    """Return once a round trip is done on the connection."""
    caller.stdin.write(b"\n")
    async with asyncio.timeout(LIMIT_SECONDS):
        if not await caller.stdout.readline():
            raise SystemExit("the connection broke")


async def healed(
    hosts: Sequence[HostHandle], change: Callable[[], object], *, relayed: bool
) -> float:
    """Return the seconds from a change of the network until data passes again."""
    async with met(hosts, relayed=relayed) as pair, calling(hosts, pair) as caller:
        before = pair.tunnels[0].candidates
        await asyncio.to_thread(change)  # noqa: TID251 - it is awaited here
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            told = None
            if not relayed:
                told = tasks.create_task(_update(pair, before))
            await trip(caller)
            seconds = time.monotonic() - began
            if told is not None:
                told.cancel()
        return seconds


async def _update(pair: Pair, before: object) -> None:
    """Do what the session protocol's `update` does: tell the peer the new candidates."""
    with contextlib.suppress(asyncio.CancelledError):
        await pair.tunnels[0].until(lambda it: it.candidates != before)
        await pair.tunnels[1].set_peer(known(0, pair.opened[0], pair.tunnels[0]))


async def _setup(hosts: Sequence[HostHandle]) -> tuple[str, float, float]:
    async with met(hosts) as pair:
        return pair.kind, pair.gathered_seconds, pair.up_seconds


def _block(host: HostHandle) -> None:
    done = asyncio.run(host.access.run(["nft", BLOCK], timeout_seconds=LIMIT_SECONDS))
    if done.exit:
        raise SystemExit(done.complaint)


def _healings(repetitions: int) -> dict[str, list[float]]:
    cone: Sequence[Reachability] = ("port-restricted", "port-restricted")
    found: dict[str, list[float]] = {"new address, told": [], "new address, relay": [], "UDP": []}
    for _ in range(repetitions):
        for name, relayed in (("new address, told", False), ("new address, relay", True)):
            with lab_of(cone) as (lab, hosts):
                change = lambda lab=lab: lab.renumber_host("h-0")  # noqa: E731
                found[name].append(asyncio.run(healed(hosts, change, relayed=relayed)))
        with lab_of(("public", "public")) as (_, hosts):
            block = lambda host=hosts[1]: _block(host)  # noqa: E731
            found["UDP"].append(asyncio.run(healed(hosts, block, relayed=True)))
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure tunnels through NATs.")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    options = parser.parse_args(argv)
    setups: dict[str, list[tuple[float, float]]] = {}
    for one, other, kind, limit in PAIRS:
        name = f"{one}, {other}"
        for _ in range(options.repetitions):
            with lab_of((one, other)) as (_, hosts):
                got, gathered, up = asyncio.run(_setup(hosts))
            if got != kind:
                print(f"     {name}: the first path is {got}, not {kind}")
            setups.setdefault(name, []).append((round(gathered, 3), round(up, 3)))
        median = statistics.median(sum(each) for each in setups[name])
        mark = "OK  " if median <= limit else "MISS"
        ups = statistics.median(up for _, up in setups[name])
        print(f"{mark} {name:32} {kind:10} {median:5.2f} s, {ups:.2f} of it after gathering")
    heals = _healings(options.repetitions)
    for name, seconds in heals.items():
        median = statistics.median(seconds)
        mark = "OK  " if median <= HEALED_SECONDS else "MISS"
        print(f"{mark} healed after: {name:20} {median:5.2f} s, at most {HEALED_SECONDS:g}")
    return {"tunnel_nats": {"setups": setups, "heals": heals, "load": os.getloadavg()[0]}}


if __name__ == "__main__":
    main()
