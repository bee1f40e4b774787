"""What a session costs without tunnels: each message of MPyC as a DIDComm message.

Three hosts of a lab without latency run campaigns/programs/rounds.py over the overlay didcomm, in
turn by its tunnels and by messages alone. The time is that from the moment when all parties are
connected to the last result; bytes are those that the hosts send on the underlay during the
session, with its agreement, for each byte that MPyC has sent.

    python -m bench.messages --repetitions 5
"""

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from pathlib import Path

from bench.by_hand import tell
from bench.overlays import hosts_of
from bench.tunnel import LIMIT_SECONDS
from bench.tunnel_rounds import ROUNDS
from e3.contact import verify_pairs
from e3.interfaces import PARTY_PORT, Host, Network
from e3.overlays.didcomm import Didcomm
from e3.session.plan import plan
from e3.session.programs import load
from e3.session.run_session import SessionSpec, run_session

OPENINGS = 300
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


async def run(overlay: Didcomm, hosts: Sequence[Host]) -> Run:
    """Return what one session over that overlay costs."""
    network = await overlay.connect(hosts, None, None)
    try:
        await verify_pairs(overlay, hosts, network, timeout_seconds=LIMIT_SECONDS)
        before = [int(await tell(host, COUNTER)) for host in hosts]
        with tempfile.TemporaryDirectory(prefix="e3-bench-") as folder:
            result = await run_session(spec(hosts, network, Path(folder)))
        wire = sum([int(await tell(host, COUNTER)) for host in hosts]) - sum(before)
    finally:
        await overlay.disconnect(hosts, network)
    if result.online_seconds is None:
        raise SystemExit(f"{result.verdict}: {result.reason}")
    sent = sum(party.sent_bytes or 0 for party in result.parties)
    return Run(
        round_us=round(result.online_seconds / OPENINGS * 1e6, 1),
        bytes_ratio=round(wire / sent, 2),
    )


def spec(hosts: Sequence[Host], network: Network, sessions: Path) -> SessionSpec:
    """Return a session of all hosts."""
    return SessionSpec(
        plan=plan(
            hosts=hosts,
            addresses=network.addresses,
            program=load(ROUNDS, ["--openings", str(OPENINGS)]),
            parties=len(hosts),
            base_port=PARTY_PORT,
        ),
        hosts=hosts,
        overlay="didcomm",
        sessions=sessions,
        deadline_seconds=LIMIT_SECONDS,
        address_trust="authenticated",
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
