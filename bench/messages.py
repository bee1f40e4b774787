"""What a session costs without tunnels: each message of MPyC as a DIDComm message.

Three hosts of a lab without latency run campaigns/programs/rounds.py over the overlay didcomm, in
turn by its tunnels and by messages alone. The time is that between the two lines by which MPyC
tells that all are connected and that it stops; bytes are those that the hosts send on the underlay
meanwhile, for each byte that MPyC has sent.

    python -m bench.messages --repetitions 5
"""

import argparse
import asyncio
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network

from bench.by_hand import tell
from bench.overlays import hosts_of
from bench.tunnel import LIMIT_SECONDS
from bench.tunnel_rounds import ELAPSED, ROUNDS, by
from e3.interfaces import Host
from e3.overlays.didcomm import Didcomm
from e3.remote.tasks import gather_or_cancel

OPENINGS = 300
SENT = re.compile(r"bytes sent: (\d+)")
COUNTER = "cat /sys/class/net/eth0/statistics/tx_bytes"
MODES: Mapping[str, Didcomm] = {
    "tunnel": Didcomm(),
    "messages": Didcomm(mode="messages", purpose="comparison", range=IPv4Network("127.76.0.0/16")),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A round in microseconds, and the bytes on the underlay for each byte of MPyC."""

    round_us: float
    bytes_ratio: float


async def party(host: Host, pid: int, places: Sequence[str]) -> tuple[float, int]:
    """Return the seconds and the bytes that a party's MPyC tells."""
    known = [word for place in places for word in ("-P", place)]
    argv = [host.python, str(ROUNDS), "--openings", str(OPENINGS), *known, "-I", str(pid)]
    done = await host.access.run(argv, timeout_seconds=LIMIT_SECONDS)
    said = (done.stdout + done.stderr).decode()
    told, sent = ELAPSED.search(said), SENT.search(said)
    if done.exit or told is None or sent is None:
        raise SystemExit(f"{host.name}: {said}")
    hours, minutes, seconds = told.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds), int(sent[1])


async def run(overlay: Didcomm, hosts: Sequence[Host]) -> Run:
    """Return what one run over that overlay costs."""
    async with by(overlay)(hosts) as places:
        before = [int(await tell(host, COUNTER)) for host in hosts]
        each = await gather_or_cancel(
            party(host, pid, places[pid]) for pid, host in enumerate(hosts)
        )
        wire = sum([int(await tell(host, COUNTER)) for host in hosts]) - sum(before)
    return Run(
        round_us=round(max(seconds for seconds, _ in each) / OPENINGS * 1e6, 1),
        bytes_ratio=round(wire / sum(sent for _, sent in each), 2),
    )


async def compare(hosts: Sequence[Host], repetitions: int) -> dict[str, list[Run]]:
    """Return the runs of each mode, which take turns."""
    found: dict[str, list[Run]] = {name: [] for name in MODES}
    for _ in range(repetitions):
        for name, overlay in MODES.items():
            found[name].append(await run(overlay, hosts))
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure sessions by messages alone.")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    options = parser.parse_args(argv)
    load = os.getloadavg()[0]
    with hosts_of({"here": 3}, latency=False) as hosts:
        found = asyncio.run(compare(hosts, options.repetitions))
    rounds = {n: statistics.median(it.round_us for it in runs) for n, runs in found.items()}
    sizes = {n: statistics.median(it.bytes_ratio for it in runs) for n, runs in found.items()}
    for name in found:
        print(
            f"     {name:9} {rounds[name]:7.0f} us a round, {rounds[name] / rounds['tunnel']:5.2f} "
            f"of the tunnel's; {sizes[name]:7.2f} bytes for one of MPyC, "
            f"{sizes[name] / sizes['tunnel']:5.1f} of the tunnel's"
        )
    print(f"load average before: {load:.1f} on {os.cpu_count()} cores")
    runs = {name: [asdict(one) for one in each] for name, each in found.items()}
    return {"messages": {"runs": runs, "load_average": load}}


if __name__ == "__main__":
    main()
