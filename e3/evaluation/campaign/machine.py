"""The machine during a repetition: its facts, and what disturbed it.

`look` reads clocks and processor times; `disturbances` compares two looks and is pure.
"""

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from e3.evaluation.results import Disturbance, MachineFacts, RoundTrip

CPU_SHARE = 0.10
"""Other programs may take that share of the machine's processors."""

CLOCK_SECONDS = 0.05
"""The time of day may drift by so much against the clock that nobody sets."""

SUSPEND_SECONDS = 0.05
UNDERLAY_FACTOR, UNDERLAY_MS = 1.25, 2.0
"""A round trip of the bare network is off if it is off by both."""

POWERCAP = Path("/sys/class/powercap")
"""Where the kernel shows the counters of energy that processors have (RAPL)."""

POWERED = ("package-", "dram")
"""The counters that count what no other one does: a package's has that of its cores."""

KERNEL = 2
"""The process whose children are the kernel's threads (kthreadd)."""


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """The clocks that `look` reads, in seconds.

    ``day`` is the time of day, which people and programs set. Nobody sets the others, of which
    every figure is made; ``boot`` also counts while the machine sleeps.
    """

    day: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    boot: Callable[[], float] = field(default=lambda: time.clock_gettime(time.CLOCK_BOOTTIME))


CLOCKS = Clocks()


class Times(Protocol):
    """What three clocks say at a moment, in seconds; see `Clocks`."""

    @property
    def day(self) -> float:
        """The time of day."""

    @property
    def monotonic(self) -> float:
        """The clock that nobody sets."""

    @property
    def boot(self) -> float:
        """The same, which also counts while the machine sleeps."""


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A counter of energy, which begins at 0 again after ``most``; in microjoules."""

    value: int
    most: int


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What clocks and processors say at a moment; all in seconds, but ``energy``.

    ``busy`` is what all programs have taken of the processors, ``ours`` what E3, its labs and the
    kernel's threads have, and ``stolen`` what a hypervisor gave to other machines.
    """

    day: float
    monotonic: float
    boot: float
    busy: float
    ours: float
    stolen: float
    energy: Mapping[str, Counter] = field(default_factory=dict)


def facts() -> MachineFacts:
    """Return the facts of this machine, and its load now."""
    return MachineFacts(
        system=f"{platform.machine()}-{platform.system().lower()}",
        kernel=platform.release(),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        load_1m=load_1m(),
        no_energy=no_energy(),
    )


def load_1m() -> float:
    """Return the load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def look(labs: Sequence[int], clocks: Clocks = CLOCKS) -> Moment:
    """Return the present moment; ``labs`` are the processes of our labs' daemons."""
    times: dict[int, tuple[int, int]] = dict(_times())  # parent and ticks of each process
    words = Path("/proc/stat").read_text().split(maxsplit=9)
    tick = os.sysconf("SC_CLK_TCK")
    roots = {os.getpid(), KERNEL, *labs}
    ours = sum(ticks for pid, (_, ticks) in times.items() if _below(pid, roots, times))
    return Moment(
        day=clocks.day(),
        monotonic=clocks.monotonic(),
        boot=clocks.boot(),
        busy=sum(map(int, words[1:4])) / tick,  # user, nice, system: no interrupts
        ours=ours / tick,
        stolen=int(words[8]) / tick,
        energy=energy(),
    )


def energy(folder: Path = POWERCAP) -> Mapping[str, Counter]:
    """Return this machine's counters of energy by zone; none where it has none that we may read."""
    found = {}
    for zone in sorted(folder.glob("intel-rapl:*")):  # AMD's have this name as well
        try:
            if (zone / "name").read_text().startswith(POWERED):
                found[zone.name] = Counter(
                    value=int((zone / "energy_uj").read_text()),
                    most=int((zone / "max_energy_range_uj").read_text()),
                )
        except (OSError, ValueError):  # only root may read it, or it is of another kind
            continue
    return found


def no_energy(folder: Path = POWERCAP) -> str:
    """Return why this machine's energy is not measured; empty if it is."""
    if energy(folder):
        return ""
    if next(folder.glob("intel-rapl:*"), None) is None:
        return f"this machine shows no counters of energy in {folder}, as most virtual machines"
    return f"the counters of energy in {folder} cannot be read; root may read them"


def joules(before: Moment, after: Moment) -> float | None:
    """Return the energy that this machine took between two moments; None if it is not counted."""
    if not before.energy or before.energy.keys() != after.energy.keys():
        return None
    total = 0
    for zone, then in before.energy.items():
        now = after.energy[zone]
        # once at most: a counter goes round in minutes, and a session is watched for less
        total += now.value - then.value + (then.most if now.value < then.value else 0)
    return round(total / 1e6, 3)


def disturbances(before: Moment, after: Moment, cores: int, *, local: bool) -> list[Disturbance]:
    """Return what disturbed this machine meanwhile; ``local``: it also ran the hosts."""
    seconds = max(after.monotonic - before.monotonic, 1e-9)
    found = []
    others = max((after.busy - before.busy) - (after.ours - before.ours), 0.0)
    share = (others + after.stolen - before.stolen) / seconds / cores
    if local and share > CPU_SHARE:
        found.append(
            Disturbance(
                kind="cpu",
                value=round(share, 3),
                limit=CPU_SHARE,
                detail=f"other programs took {share:.0%} of the machine's processors",
            )
        )
    return found + clock_disturbances(before, after, "this machine")


def clock_disturbances(before: Times, after: Times, whose: str) -> list[Disturbance]:
    """Return whether somebody's clock was set meanwhile, or they slept."""
    seconds = after.monotonic - before.monotonic
    step = (after.day - before.day) - seconds
    slept = (after.boot - before.boot) - seconds
    found = []
    if abs(step - max(slept, 0.0)) > CLOCK_SECONDS:
        found.append(
            Disturbance(
                kind="clock",
                value=round(step, 3),
                limit=CLOCK_SECONDS,
                detail=f"the clock of {whose} was set by {step:+.3f} s",
            )
        )
    if slept > SUSPEND_SECONDS:
        found.append(
            Disturbance(
                kind="suspend",
                value=round(slept, 3),
                limit=SUSPEND_SECONDS,
                detail=f"{whose} slept for {slept:.3f} s",
            )
        )
    return found


def off_baseline(baseline: Sequence[RoundTrip], now: Sequence[RoundTrip]) -> list[Disturbance]:
    """Return the disturbance of the bare network: the pair that is farthest from the baseline."""
    usual = {(it.source, it.target): it.median_ms for it in baseline if it.layer == "underlay"}
    worst: Disturbance | None = None
    for trip in now:
        before = usual.get((trip.source, trip.target))
        if trip.layer != "underlay" or before is None or trip.median_ms is None:
            continue
        apart = abs(trip.median_ms - before)
        limit = max(before * (UNDERLAY_FACTOR - 1), UNDERLAY_MS)
        if apart > limit and (worst is None or apart > worst.value):
            worst = Disturbance(
                kind="underlay",
                value=round(apart, 3),
                limit=round(limit, 3),
                detail=f"{trip.source} to {trip.target} took {trip.median_ms:.1f} ms on the bare "
                f"network, and {before:.1f} ms when the hosts were joined",
            )
    return [] if worst is None else [worst]


def _times() -> Iterator[tuple[int, tuple[int, int]]]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                content = Path(entry.path, "stat").read_bytes()
            except OSError:  # it has just ended
                continue
            words = content.rpartition(b")")[2].split()
            # its own times, and those of its children that have ended
            yield int(entry.name), (int(words[1]), sum(map(int, words[11:15])))


def _below(pid: int, roots: set[int], times: dict[int, tuple[int, int]]) -> bool:
    while pid in times:
        if pid in roots:
            return True
        pid = times[pid][0]
    return False


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()[:200]
    return platform.machine()
