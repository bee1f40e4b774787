"""What a round of MPyC takes over an overlay: paired with the overlay plain.

Three hosts of a lab without latency run campaigns/programs/rounds.py over each, in turn, with
`python PROGRAM -P ...` on each host. The time is that between the two lines by which MPyC tells
that all are connected and that it stops.

    python -m bench.overlay_rounds --repetitions 7 libp2p
"""

import argparse
import asyncio
import os
import statistics
from collections.abc import Mapping, Sequence

from bench.overlays import authority_of, hosts_of
from bench.tunnel_rounds import OPENINGS, party
from e3 import contact
from e3.interfaces import Host, Network, party_port
from e3.overlays import OVERLAYS
from e3.remote.tasks import gather_or_cancel

PARTIES = 3
BASE = "plain"
MOST_RATIO: Mapping[str, float] = {"libp2p": 1.15}
"""Of plain's time; other overlays are measured without a limit."""

CONTACT_SECONDS = 60.0


async def round_us(hosts: Sequence[Host], network: Network) -> float:
    """Return the microseconds of a round."""
    at = [network.addresses[host.name] for host in hosts]
    places = [f"{each}:{party_port(pid, len(at))}" for pid, each in enumerate(at)]
    each = await gather_or_cancel(party(host, pid, places) for pid, host in enumerate(hosts))
    return round(max(each) / OPENINGS * 1e6, 1)


async def compare(
    hosts: Sequence[Host], names: Sequence[str], repetitions: int
) -> dict[str, list[float]]:
    """Return the microseconds of a round, of each overlay and repetition."""
    found: dict[str, list[float]] = {name: [] for name in (BASE, *names)}
    networks: dict[str, Network] = {}
    for name in found:
        overlay = OVERLAYS[name]()
        networks[name] = await overlay.connect(hosts, await authority_of(overlay), None)
        await contact.verify_pairs(overlay, hosts, networks[name], timeout_seconds=CONTACT_SECONDS)
    for _ in range(repetitions):
        for name, network in networks.items():
            found[name].append(await round_us(hosts, network))
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure MPyC's rounds over overlays.")
    parser.add_argument("names", metavar="OVERLAY", nargs="*", default=list(MOST_RATIO))
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    options = parser.parse_args(argv)
    load = os.getloadavg()[0]
    with hosts_of({"here": PARTIES}, latency=False) as hosts:
        found = asyncio.run(compare(hosts, options.names, options.repetitions))
    for name, each in found.items():
        ratios = [mine / base for mine, base in zip(each, found[BASE], strict=True)]
        ratio, limit = statistics.median(ratios), MOST_RATIO.get(name)
        mark = "    " if limit is None else "OK  " if ratio <= limit else "MISS"
        print(
            f"{mark} {name:10} {statistics.median(each):6.0f} us a round, {ratio:.2f} of {BASE}'s"
        )
    return {"overlay_rounds": {"round_us": found, "load_average": load}}


if __name__ == "__main__":
    main()
