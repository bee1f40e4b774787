"""The figures of the lab at scale, what they grow with, and their table; see bench/scale.py."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What so many hosts take; None is what was not measured.

    ``up``: the lab's hosts are made. ``join``: `Overlay.connect`. ``prove``: every ordered pair has
    exchanged data. ``setup`` and ``online`` are those of the session. ``..._processor_seconds``
    are of the deploying process, the lab and all services together, or of a party. ``..._mb`` is
    the memory of processes for each host or party (Pss), without the kernel's own; ``..._cores`` is
    what a quiet lab takes. ``programs`` counts its processes by name.
    """

    overlay: str
    hosts: int
    latency: bool
    load: float
    up_seconds: float
    host_mb: float
    idle_cores: float
    join_seconds: float | None = None
    join_processor_seconds: float | None = None
    prove_seconds: float | None = None
    prove_processor_seconds: float | None = None
    proven_pairs: int = 0
    services_mb: float | None = None
    quiet_cores: float | None = None
    setup_seconds: float | None = None
    online_seconds: float | None = None
    session_seconds: float | None = None
    party_processor_seconds: float | None = None
    party_mb: float | None = None
    verdict: str = ""
    reason: str = ""
    programs: Mapping[str, int] = field(default_factory=dict)


SHOWN = {
    "up_seconds": "hosts up, s",
    "host_mb": "memory a host, MB",
    "idle_cores": "idle, cores",
    "join_seconds": "joined, s",
    "join_processor_seconds": "of processors, s",
    "prove_seconds": "all pairs proven, s",
    "prove_processor_seconds": "of processors, s",
    "services_mb": "services a host, MB",
    "quiet_cores": "joined and quiet, cores",
    "setup_seconds": "session's set-up, s",
    "online_seconds": "session online, s",
    "session_seconds": "session, s",
    "party_processor_seconds": "processor time a party, s",
    "party_mb": "memory a party, MB",
}


def exponent(points: Mapping[int, float]) -> float | None:
    """Return the exponent of a power of the number of hosts, by least squares of logarithms."""
    known = {count: value for count, value in points.items() if value > 0}
    if len(known) < 2:  # noqa: PLR2004 - a line has two points
        return None
    logs = [math.log(value) for value in known.values()]
    return statistics.linear_regression(list(map(math.log, known)), logs).slope


def table(figures: Sequence[Figures]) -> str:
    """Return a table in Markdown for each overlay."""
    parts = []
    for name in dict.fromkeys(one.overlay for one in figures):
        mine = {one.hosts: one for one in figures if one.overlay == name}
        lines = [
            f"| {name} | {' | '.join(map(str, mine))} | exponent |",
            f"|---|{'---|' * (len(mine) + 1)}",
            _row("pairs proven", [f"{one.proven_pairs:,}" for one in mine.values()], None),
        ]
        for key, said in SHOWN.items():
            values = {count: getattr(one, key) for count, one in mine.items()}
            shown = ["-" if v is None else f"{v:.3g}" for v in values.values()]
            power = exponent({count: v for count, v in values.items() if v is not None})
            lines.append(_row(said, shown, power))
        lines.append(_row("verdict", [one.verdict or "-" for one in mine.values()], None))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _row(said: str, shown: Sequence[str], power: float | None) -> str:
    last = "" if power is None else f"{power:.1f}"
    return f"| {said} | {' | '.join(shown)} | {last} |"


def kept(path: Path) -> list[Figures]:
    """Return the figures of a file; none if there is none."""
    return msgspec.json.decode(path.read_bytes(), type=list[Figures]) if path.exists() else []


def keep(path: Path, one: Figures) -> list[Figures]:
    """Add figures to those of a file, in place of older ones of the same cell; return all."""
    cell = (one.overlay, one.hosts)
    others = [each for each in kept(path) if (each.overlay, each.hosts) != cell]
    found = sorted([*others, one], key=lambda each: (each.overlay, each.hosts))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return found
