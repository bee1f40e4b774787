"""What a round of MPyC takes through tunnels: paired with the overlays wireguard and didcomm.

Three hosts of a lab without latency run campaigns/programs/rounds.py over each, in turn. The time
is that between the two lines by which MPyC tells that all are connected and that it stops.

    python -m bench.tunnel_rounds --repetitions 5
"""

import argparse
import asyncio
import os
import re
import statistics
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from bench.overlays import hosts_of
from bench.tunnel import LIMIT_SECONDS, PSK
from e3.contact import verify_pairs
from e3.interfaces import PARTY_PORT, Host, Overlay
from e3.lab.client import PROJECT
from e3.overlays import OVERLAYS
from e3.remote.tasks import gather_or_cancel
from e3.tunnel import PROGRAM, Mode, Open, Peer, Tunnel, over

ROUNDS = PROJECT / "campaigns" / "programs" / "rounds.py"
OPENINGS = 1000
MOST_RATIO = 1.1
ELAPSED = re.compile(r"elapsed time: (\d+):(\d+):([\d.]+)")

Places = Sequence[Sequence[str]]
"""For each party the places at which it knows all of them, itself included."""

Opening = Callable[[Sequence[Host]], AbstractAsyncContextManager[Places]]


def by(overlay: Overlay) -> Opening:
    """Return what joins the hosts by that overlay of E3."""

    @asynccontextmanager
    async def opening(hosts: Sequence[Host]) -> AsyncIterator[Places]:
        network = await overlay.connect(hosts, None, None)
        own = [f"{network.addresses[h.name]}:{PARTY_PORT + i}" for i, h in enumerate(hosts)]
        try:
            await verify_pairs(overlay, hosts, network, timeout_seconds=LIMIT_SECONDS)
            yield [own for _ in hosts]
        finally:
            await overlay.disconnect(hosts, network)

    return opening


def of_mode(mode: Mode) -> Opening:
    """Return what joins the hosts by tunnels of that mode."""

    @asynccontextmanager
    async def opening(hosts: Sequence[Host]) -> AsyncIterator[Places]:
        async with AsyncExitStack() as stack:
            tunnels = []
            for host in hosts:
                program = [f"{host.tools}/{PROGRAM}", "party"]
                process = await stack.enter_async_context(host.access.attach(program))
                tunnels.append(await stack.enter_async_context(over(process)))
            await _met(tunnels, mode)
            if mode == "tun":
                own = [f"10.201.0.{i + 1}:{PARTY_PORT + i}" for i in range(len(hosts))]
                yield [own for _ in hosts]
            else:
                yield [await _places(pid, tunnel, len(hosts)) for pid, tunnel in enumerate(tunnels)]

    return opening


async def _met(tunnels: Sequence[Tunnel], mode: Mode) -> None:
    asked = [
        Open(pid=pid, mode=mode, address=f"10.201.0.{pid + 1}/24") for pid in range(len(tunnels))
    ]
    opened = [await tunnel.open(one) for tunnel, one in zip(tunnels, asked, strict=True)]
    async with asyncio.timeout(LIMIT_SECONDS):
        for tunnel in tunnels:
            await tunnel.until(lambda it: it.candidates is not None)
        for pid, tunnel in enumerate(tunnels):
            for other, end in enumerate(opened):
                known = tunnels[other].candidates
                if other != pid and known is not None:
                    peer = Peer(
                        pid=other,
                        address=f"10.201.0.{other + 1}",
                        public_key=end.public_key,
                        psk=PSK,
                        certificate=end.certificate,
                        candidates=known.candidates,
                    )
                    await tunnel.set_peer(peer)
        for tunnel in tunnels:
            await tunnel.until(lambda it: len(it.up) == len(tunnels) - 1)


async def _places(pid: int, tunnel: Tunnel, parties: int) -> list[str]:
    own = f"127.0.0.1:{PARTY_PORT + pid}"
    await tunnel.serve(PARTY_PORT, own)
    return [own if peer == pid else await tunnel.dial(peer, PARTY_PORT) for peer in range(parties)]


WAYS: dict[str, Opening] = {
    "wireguard": by(OVERLAYS["wireguard"]()),
    "didcomm": by(OVERLAYS["didcomm"]()),
    "tun": of_mode("tun"),
    "tls": of_mode("tls"),
    "userspace": of_mode("userspace"),
}


async def party(host: Host, pid: int, places: Sequence[str]) -> float:
    """Return the seconds that a party's MPyC tells."""
    known = [word for place in places for word in ("-P", place)]
    argv = [host.python, str(ROUNDS), "--openings", str(OPENINGS), *known, "-I", str(pid)]
    done = await host.access.run(argv, timeout_seconds=LIMIT_SECONDS)
    said = (done.stdout + done.stderr).decode()
    told = ELAPSED.search(said)
    if done.exit or told is None:
        raise SystemExit(f"{host.name}: {said}")
    hours, minutes, seconds = told.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


async def compare(hosts: Sequence[Host], repetitions: int) -> dict[str, list[float]]:
    """Return the microseconds of a round, of each way and repetition."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repetitions):
        for name, opening in WAYS.items():
            async with opening(hosts) as places:
                each = await gather_or_cancel(
                    party(host, pid, places[pid]) for pid, host in enumerate(hosts)
                )
            found[name].append(round(max(each) / OPENINGS * 1e6, 1))
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure MPyC's rounds through tunnels.")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    options = parser.parse_args(argv)
    load = os.getloadavg()[0]
    with hosts_of({"here": 3}, latency=False) as hosts:
        found = asyncio.run(compare(hosts, options.repetitions))
    base = statistics.median(found["wireguard"])
    for name, each in found.items():
        median = statistics.median(each)
        mark = "    " if name == "wireguard" else "OK  " if median <= MOST_RATIO * base else "MISS"
        print(f"{mark} {name:10} {median:6.0f} us a round, {median / base:.2f} of wireguard's")
    return {"tunnel_rounds": {"round_us": found, "load_average": load}}


if __name__ == "__main__":
    main()
