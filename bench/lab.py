"""What the lab costs and achieves: time and memory of hosts, delay and throughput of the WAN.

Prints a line for each figure beside its limit, and writes the raw numbers as JSON:

    python -m bench.lab --out bench/results/lab.json
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scale import command, cpu_seconds, quiet_cores
from e3.lab.client import HostHandle, Lab, start, stop
from e3.remote.processes import descendants

REGIONS = ("ams3", "nyc3", "sfo3", "sgp1")
SETTLED_MB = 1.0
IDLE_HOSTS = 6
RTTS_MS = (80.0, 2.0)
THROUGHPUT_SECONDS = 5
WARM_UP_SECONDS = 2


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure of the result and its bound: at most, or at least."""

    key: str
    bound: float
    at_least: bool = False

    def line(self, value: float) -> str:
        """Return a line for a person."""
        good = value >= self.bound if self.at_least else value <= self.bound
        asked = f"at {'least' if self.at_least else 'most'} {self.bound:g}"
        return f"{'OK  ' if good else 'MISS'} {self.key:32} {value:10.2f}   {asked}"


GOALS = (
    Goal(key="host_ms_at_100", bound=12),
    Goal(key="host_ms_at_300", bound=12),
    Goal(key="host_memory_mb_at_300", bound=3),
    Goal(key="idle_cores_at_300", bound=0.1),
    Goal(key="added_rtt_ms_at_80", bound=0.2),
    Goal(key="added_rtt_ms_at_2", bound=0.2),
    Goal(key="tcp_mbit_at_80", bound=250, at_least=True),
    Goal(key="tcp_mbit_at_2", bound=500, at_least=True),
)


def main(arguments: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, keep if asked, and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("--out", type=Path, help="where to keep the raw numbers as JSON")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {
        "schema": 1,
        "machine": {
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load": os.getloadavg()[0],
        },
        **_hosts(100, options.repetitions),
        **_hosts(300, 1),
        **_wan(options.repetitions),
    }
    for goal in GOALS:
        print(goal.line(result[goal.key]))
    print(f"     300 hosts: up {result['up_seconds_at_300']:.2f} s,", end=" ")
    print(f"gone {result['down_seconds_at_300']:.2f} s")
    for rtt_ms in RTTS_MS:
        share = result[f"wan_cores_a_gbit_at_{rtt_ms:g}"]
        print(f"     the WAN at {rtt_ms:g} ms: {share:.2f} of a core for each Gbit/s")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    return {"lab": result}


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the docstring."""


def _hosts(count: int, repetitions: int) -> dict[str, Any]:
    """Measure how long ``count`` hosts take to start and stop, and the memory of the machine."""
    up, down, memory, idle = [], [], [], []
    names = [(f"{region}-{i}", region) for region in REGIONS for i in range(count // 4)]
    for _ in range(repetitions):
        with _lab() as lab:
            before = _settled_mb()
            begun = time.monotonic()
            lab.add_hosts(names)
            up.append(time.monotonic() - begun)
            memory.append((before - _settled_mb()) / count)
            idle.append(quiet_cores(lab.status()["pid"]))
            begun = time.monotonic()
            stop(lab.folder)
            down.append(time.monotonic() - begun)
    return {
        f"host_ms_at_{count}": statistics.median(up) / count * 1000,
        f"host_memory_mb_at_{count}": statistics.median(memory),
        f"idle_cores_at_{count}": statistics.median(idle),
        f"up_seconds_at_{count}": statistics.median(up),
        f"down_seconds_at_{count}": statistics.median(down),
        f"raw_at_{count}": {
            "up_seconds": up,
            "down_seconds": down,
            "memory_mb": memory,
            "idle_cores": idle,
        },
    }


def _wan(repetitions: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with _lab() as lab:
        names = [(f"{region}-{i}", region) for region in REGIONS[:2] for i in range(4)]
        hosts = {host.name: host for host in lab.add_hosts(names)}  # two talk, six are idle
        wan = [pid for pid in descendants(lab.status()["pid"]) if command(pid) == "e3-wan"]
        for rtt_ms in RTTS_MS:
            lab.set_rtt({REGIONS[:2]: rtt_ms})
            added = [lab.measure()[REGIONS[:2]] - rtt_ms for _ in range(repetitions)]
            used = cpu_seconds(wan)
            carried = [_tcp_mbit(hosts["ams3-0"], hosts["nyc3-0"]) for _ in range(repetitions)]
            busy = repetitions * (WARM_UP_SECONDS + THROUGHPUT_SECONDS)
            cores = (cpu_seconds(wan) - used) / busy
            result |= {
                f"added_rtt_ms_at_{rtt_ms:g}": statistics.median(added),
                f"tcp_mbit_at_{rtt_ms:g}": statistics.median(carried),
                f"wan_cores_a_gbit_at_{rtt_ms:g}": cores / statistics.mean(carried) * 1000,
                f"raw_wan_at_{rtt_ms:g}": {"added_rtt_ms": added, "tcp_mbit": carried},
            }
    return result


def _tcp_mbit(source: HostHandle, target: HostHandle) -> float:
    """Return what one TCP stream carries in Mbit/s, as iperf3's receiver sees it."""
    server = [*target.access.nsenter(), "--", "iperf3", "-s", "-1", "--forceflush"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as serving:
        serving_says = serving.stdout or iter(())
        if not any("listening" in line for line in serving_says):
            raise SystemExit("iperf3 does not serve; is it installed?")
        seconds = ["-t", str(THROUGHPUT_SECONDS), "-O", str(WARM_UP_SECONDS)]
        command = [*source.access.nsenter(), "--", "iperf3", "-J", "-c", target.underlay, *seconds]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        said: Mapping[str, Any] = json.loads(done.stdout)
        if "error" in said:
            serving.kill()
            raise SystemExit(f"iperf3: {said['error']}")
    return float(said["end"]["sum_received"]["bits_per_second"]) / 1e6


@contextmanager
def _lab() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="e3-bench-") as folder:
        try:
            lab = start(Path(folder))
            for region in REGIONS:
                lab.add_region(region)
            yield lab
        finally:
            stop(Path(folder))


def _settled_mb() -> float:
    """Return the available memory once it is stable: the kernel frees some in the background."""
    last = _available_mb()
    for _ in range(20):
        time.sleep(0.5)
        now = _available_mb()
        if abs(now - last) < SETTLED_MB:
            return now
        last = now
    return last


def _available_mb() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    fields = {line.split(":")[0]: float(line.split()[1]) for line in lines}
    return fields["MemAvailable"] / 1024


if __name__ == "__main__":
    main()
