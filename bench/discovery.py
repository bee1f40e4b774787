"""What it takes hosts of libp2p to find each other, by each of its ways of discovery.

Hosts of one region without latency, whose multicast packets reach each other, as on one Ethernet.
For each way, in turn: the seconds until six that are joined anew have proven every pair, the
bytes that a host sends meanwhile, and the seconds until one more has exchanged data with them.

    python -m bench.discovery --repetitions 5
"""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
from collections.abc import Sequence

from bench.overlays import add_one, built, hosts_of, join
from e3.interfaces import Host
from e3.lab.client import Lab
from e3.remote.tasks import gather_or_cancel

WAYS = ("list", "mdns", "dht")
REGION = "ams3"
HOSTS = 6
SENT = "/sys/class/net/eth0/statistics/tx_bytes"


def one_network(lab: Lab, region: str) -> None:
    """Let hosts of a region receive each other's multicast, as on one Ethernet."""
    inside = ["nsenter", f"--net={lab.status()['routers'][region]}"]
    shown = subprocess.run(
        [*inside, "bridge", "link"], capture_output=True, text=True, check=True, timeout=10
    )
    for port in re.findall(r"^\d+: (h\d+)", shown.stdout, re.MULTILINE):
        argv = [*inside, "bridge", "link", "set", "dev", port, "isolated", "off"]
        subprocess.run(argv, check=True, timeout=10)


async def sent_bytes(hosts: Sequence[Host]) -> float:
    """Return the mean of what the hosts have sent."""
    said = await gather_or_cancel(h.access.run(["cat", SENT], timeout_seconds=30) for h in hosts)
    return statistics.mean(int(each.stdout) for each in said)


async def joined(name: str, hosts: Sequence[Host]) -> tuple[float, float]:
    """Return the seconds until all pairs of ``hosts`` are proven, and the bytes that one sent."""
    before = await sent_bytes(hosts)
    seconds = (await join(built(name), hosts, None, None)).all_seconds
    return round(seconds, 3), round(await sent_bytes(hosts) - before)


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure libp2p's ways of discovery.")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    options = parser.parse_args(argv)
    load = os.getloadavg()[0]
    found: dict[str, dict[str, list[float]]] = {
        way: {"seconds": [], "sent_bytes": [], "add_one_seconds": []} for way in WAYS
    }
    for _ in range(options.repetitions):
        for way, mine in found.items():
            name = f"libp2p:discovery={way}"
            with hosts_of({REGION: HOSTS}, latency=False, bridged=one_network) as hosts:
                seconds, sent = asyncio.run(joined(name, hosts))
            with hosts_of({REGION: HOSTS + 1}, latency=False, bridged=one_network) as hosts:
                added = asyncio.run(add_one(name, hosts))
            mine["seconds"].append(seconds)
            mine["sent_bytes"].append(sent)
            mine["add_one_seconds"].append(added.seconds)
    for way, mine in found.items():
        six, sent, one = (statistics.median(each) for each in mine.values())
        print(
            f"     {way:5} six in {six:.2f} s, one more in {one:.2f} s, {sent / 1000:.0f} kB a host"
        )
    return {"discovery": {**found, "load_average": load}}


if __name__ == "__main__":
    main()
