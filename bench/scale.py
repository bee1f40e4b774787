"""The lab at scale: hosts by the hundred, joined, every ordered pair proven, a session of all.

For each overlay and number of hosts a lab of its own, in four regions with their usual latencies:
time and memory of each part, and the exponent with which they grow with the number of hosts. The
session is `demos/helloworld.py` with a party on each host, without PRSS, whose keys would be
C(m, t). The table is in docs/scale.md.

    python -m bench.scale --hosts 10 30 100 300 plain wireguard
    python -m bench.scale --show bench/results/scale.json

All processes are the first that the kernel ends when memory runs out, and a run gives up before.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from bench.overlays import authority_of, hosts_of, processor_seconds
from bench.scale_figures import Figures, keep, kept, table
from e3 import contact
from e3.interfaces import Host, Network, Overlay
from e3.lab.client import PROJECT
from e3.overlays import OVERLAYS, strong_host
from e3.remote.processes import allow_many_files, descendants
from e3.remote.tasks import beside
from e3.session.plan import plan
from e3.session.programs import load
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict

NAMES = ("plain", "wireguard", "nebula", "libp2p")
HOSTS = (10, 30, 100, 300)
REGIONS = ("ams3", "nyc3", "sfo3", "sgp1")
PROGRAM = PROJECT / "demos" / "helloworld.py"
ARGUMENTS = ("--no-prss", "--no-numpy")
"""numpy, which the program does not use, would take 20 MB of each party."""

RESULTS = Path(__file__).parent / "results" / "scale.json"
DEADLINE_SECONDS = 1800.0
"""Of each part; the limits of a stack are shorter."""

IDLE_SECONDS = 10.0
QUIET_SECONDS = 5.0
RESERVE_MB = 1500.0
AVAILABLE = ("MemAvailable:", "SwapFree:")  # proc_meminfo(5)
WATCH_SECONDS = 0.25
FIRST_TO_GO = "700"  # proc(5), oom_score_adj
TICKS = os.sysconf("SC_CLK_TCK")

Result = TypeVar("Result")


class ShortageError(Exception):
    """The machine has too little memory left to go on."""


async def guarded(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what ``work`` returns; cancel it when the machine's memory runs short."""
    async with beside(_watch()) as watching, beside(work) as doing:
        await asyncio.wait({watching, doing}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
        return doing.result()


async def _watch() -> None:
    while True:
        if available_mb() < RESERVE_MB:
            raise ShortageError(f"less than {RESERVE_MB:g} MB of memory are left")
        await asyncio.sleep(WATCH_SECONDS)


def available_mb() -> float:
    """Return the memory that new processes could have, with what can be swapped out."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(AVAILABLE)) / 1024


def family(lab: int) -> list[int]:
    """Return the processes of the lab and all that its hosts run as services."""
    return [lab, *descendants(lab)]


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time of these processes and of their ended children."""
    found = 0
    for pid in pids:
        with suppress(OSError):
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            found += sum(map(int, words[11:15]))  # utime, stime, cutime, cstime: proc(5)
    return found / TICKS


def memory_mb(pids: Sequence[int]) -> float:
    """Return the memory of these processes, of what they share their part (Pss)."""
    found = 0
    for pid in pids:
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            found += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return found / 1024


def command(pid: int) -> str:
    """Return the name of a process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "gone"


def quiet_cores(lab: int) -> float:
    """Return how many processors the lab and its services use while nothing is asked of them."""
    pids = family(lab)
    before, since = cpu_seconds(pids), time.monotonic()
    time.sleep(IDLE_SECONDS)
    return (cpu_seconds(pids) - before) / (time.monotonic() - since)


def spent_seconds(lab: int) -> float:
    """Return the processor time of this process, its commands, and of a lab with its services."""
    return processor_seconds() + cpu_seconds(family(lab))


@contextmanager
def spread(count: int, *, latency: bool) -> Iterator[tuple[list[Host], float]]:
    """Hold so many hosts, spread evenly over the regions, and the seconds that making them took."""
    shares = [count // len(REGIONS) + (i < count % len(REGIONS)) for i in range(len(REGIONS))]
    began = time.monotonic()
    with hosts_of(dict(zip(REGIONS, shares, strict=True)), latency=latency) as hosts:
        yield hosts, time.monotonic() - began


def daemon_of(host: Host) -> int:
    """Return the process of the lab of a host: the parent of its first process."""
    pid = host.access.pid  # type: ignore[attr-defined] # of a lab
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def join(
    overlay: Overlay, name: str, hosts: Sequence[Host], lab: int
) -> tuple[Network, dict[str, Any]]:
    """Join the hosts and prove every pair; return what that took."""
    authority = await authority_of(overlay)
    began, busy = time.monotonic(), spent_seconds(lab)
    network = await overlay.connect(hosts, authority, None)
    await strong_host.enforce(name, overlay.needs, hosts, network)
    joined, used = time.monotonic(), spent_seconds(lab)
    print(f"{name}, {len(hosts)} hosts: joined in {joined - began:.1f} s", flush=True)
    paths = await contact.verify_pairs(overlay, hosts, network, timeout_seconds=DEADLINE_SECONDS)
    proven = time.monotonic()
    print(f"{len(paths)} pairs proven in {proven - joined:.1f} s", flush=True)
    return network, {
        "join_seconds": joined - began,
        "join_processor_seconds": used - busy,
        "prove_seconds": proven - joined,
        "prove_processor_seconds": spent_seconds(lab) - used,
        "proven_pairs": len(paths),
    }


async def session(
    overlay: Overlay, name: str, hosts: Sequence[Host], network: Network
) -> dict[str, Any]:
    """Return the figures of a session with a party on each host."""
    made = plan(
        hosts=hosts,
        addresses=network.addresses,
        program=load(PROGRAM, ARGUMENTS),
        parties=len(hosts),
    )
    with tempfile.TemporaryDirectory(prefix="e3-bench-") as folder:
        spec = SessionSpec(
            plan=made,
            hosts=hosts,
            overlay=name,
            sessions=Path(folder),
            deadline_seconds=DEADLINE_SECONDS,
            address_trust=overlay.needs.address_trust,
        )
        return of_session(await run_session(spec))


def of_session(result: SessionResult) -> dict[str, Any]:
    """Return the figures of a session; one whose parties do not all have the sum is ``wrong``."""
    count = len(result.parties)
    wanted = f"from {count} parties, whose secret numbers add up to {count * (count + 1) // 2}!"
    right = sum(wanted in party.output for party in result.parties)
    completed = result.verdict is Verdict.COMPLETED
    used = [party.cpu_seconds for party in result.parties if party.cpu_seconds is not None]
    peaks = [p.peak_memory_bytes for p in result.parties if p.peak_memory_bytes is not None]
    return {
        "verdict": "wrong" if completed and right < count else str(result.verdict),
        "reason": result.reason,
        "setup_seconds": result.setup_seconds,
        "online_seconds": result.online_seconds,
        "session_seconds": result.wall_seconds,
        "party_processor_seconds": statistics.mean(used) if used else None,
        "party_mb": statistics.median(peaks) / 1e6 if peaks else None,
    }


def cell(name: str, count: int, *, latency: bool, parties: bool) -> Figures:
    """Measure an overlay over so many hosts; what fails is in its ``reason``."""
    load_1m = os.getloadavg()[0]
    with spread(count, latency=latency) as (hosts, up_seconds):
        time.sleep(QUIET_SECONDS)
        lab = daemon_of(hosts[0])
        known: dict[str, Any] = {
            "overlay": name,
            "hosts": count,
            "latency": latency,
            "load": load_1m,
            "up_seconds": up_seconds,
            "host_mb": memory_mb(family(lab)) / count,
            "idle_cores": quiet_cores(lab),
        }
        overlay = OVERLAYS[name]()
        try:
            network, took = asyncio.run(guarded(join(overlay, name, hosts, lab)))
            known |= took
            time.sleep(QUIET_SECONDS)
            pids = family(lab)
            known["services_mb"] = memory_mb(pids) / count
            known["programs"] = dict(Counter(map(command, pids)))
            known["quiet_cores"] = quiet_cores(lab)
            if parties:
                known |= asyncio.run(guarded(session(overlay, name, hosts, network)))
        except Exception as error:  # noqa: BLE001 - that it failed, and why, is its figure
            known |= {"verdict": "failed", "reason": f"{type(error).__name__}: {error}"[:500]}
    return Figures(**known)


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print and keep each cell as it is done; return all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("names", metavar="OVERLAY", nargs="*", default=list(NAMES))
    parser.add_argument("--hosts", type=int, nargs="+", default=list(HOSTS), metavar="N")
    parser.add_argument("--without-latency", action="store_true", help="all regions in one place")
    parser.add_argument("--without-session", action="store_true", help="only join and prove")
    parser.add_argument("--out", type=Path, default=RESULTS, help="added to what it has")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of a file")
    options = parser.parse_args(argv)
    if options.show:
        print(table(kept(options.show)))
        return {}
    allow_many_files()
    Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    found: list[Figures] = []
    for count in options.hosts:
        for name in options.names:
            latency, parties = not options.without_latency, not options.without_session
            one = cell(name, count, latency=latency, parties=parties)
            found = keep(options.out, one)
            print(json.dumps(asdict(one)), flush=True)
    print(table(found))
    return {"scale": [asdict(one) for one in found]}


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the docstring."""


if __name__ == "__main__":
    main()
