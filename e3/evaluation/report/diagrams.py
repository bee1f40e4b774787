"""A scenario as a drawing: regions on a circle, their hosts, and the round trips asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from e3.evaluation.results import ScenarioChoice
from e3.lab.links import DEFAULT_RTT_MS, UNKNOWN_RTT_MS

WIDTH, HEIGHT = 420, 260
MOST_REGIONS, MOST_HOSTS = 8, 12
"""Of more, a drawing shows so many and says how many are missing."""

SYMBOLS = {
    "public": "●",
    "full-cone": "◐",
    "port-restricted": "◑",
    "cgnat": "◒",
    "symmetric": "◍",
    "udp-blocked": "◌",
    "tcp-443-only": "⊘",
    "ipv6-only": "⬡",
}


@dataclass(frozen=True, kw_only=True)
class Region:
    """A region: where it stands, and a symbol for each host."""

    name: str
    x: float
    y: float
    hosts: Sequence[tuple[str, str]]
    more: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """The way between two regions."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Diagram:
    """A scenario's drawing; ``told`` says the same in words."""

    scenario: ScenarioChoice
    regions: Sequence[Region]
    lines: Sequence[Line]
    told: str
    more_regions: int
    classes: Sequence[tuple[str, str]]
    quality: Sequence[str]


def draw(scenario: ScenarioChoice) -> Diagram:
    """Return the drawing of a scenario."""
    names = list(scenario.regions)[:MOST_REGIONS]
    regions = [_region(scenario, name, index, len(names)) for index, name in enumerate(names)]
    lines = [
        Line(
            x1=one.x, y1=one.y, x2=other.x, y2=other.y, label=_label(scenario, one.name, other.name)
        )
        for index, one in enumerate(regions)
        for other in regions[index + 1 :]
    ]
    hosts = sum(scenario.regions.values())
    told = f"{hosts} hosts: " + ", ".join(
        f"{number} in {name}" for name, number in list(scenario.regions.items())[:MOST_REGIONS]
    )
    used = dict.fromkeys(kind for region in regions for _, kind in region.hosts)
    return Diagram(
        scenario=scenario,
        regions=regions,
        lines=lines,
        told=told,
        more_regions=max(0, len(scenario.regions) - MOST_REGIONS),
        classes=[(SYMBOLS.get(kind, "○"), kind) for kind in used],
        quality=[
            *(
                f"{host}: {100 * share:.3g} % of a processor"
                for host, share in list(scenario.processors.items())[:MOST_HOSTS]
            ),
            *_links(scenario),
        ],
    )


def _links(scenario: ScenarioChoice) -> Sequence[str]:
    """Return what is added to links, in words."""
    return [
        f"{pair}: " + ", ".join(words)
        for pair, link in list(scenario.links.items())[:MOST_HOSTS]
        if (
            words := [
                *([f"jitter {link.jitter_ms:g} ms"] if link.jitter_ms else []),
                *([f"loss {link.loss:.3g}"] if link.loss else []),
                *([f"{link.rate_mbit:g} Mbit/s"] if link.rate_mbit else []),
            ]
        )
    ]


def _region(scenario: ScenarioChoice, name: str, index: int, number: int) -> Region:
    angle = 2 * math.pi * index / number - math.pi / 2 if number > 1 else 0.0
    radius_x, radius_y = (0.0, 0.0) if number == 1 else (WIDTH * 0.36, HEIGHT * 0.34)
    count = scenario.regions[name]
    kinds = [
        scenario.nats.get(f"{name}-{host}", scenario.nats.get(name, "public"))
        for host in range(min(count, MOST_HOSTS))
    ]
    return Region(
        name=name,
        x=round(WIDTH / 2 + radius_x * math.cos(angle), 1),
        y=round(HEIGHT / 2 + radius_y * math.sin(angle), 1),
        hosts=[(SYMBOLS.get(kind, "○"), kind) for kind in kinds],
        more=max(0, count - MOST_HOSTS),
    )


def _label(scenario: ScenarioChoice, one: str, other: str) -> str:
    """Return the round trip between two regions; empty if neither scenario nor lab has one."""
    for key in (f"{one}-{other}", f"{other}-{one}", "all"):
        if key in scenario.rtt_ms:
            return f"{scenario.rtt_ms[key]:g} ms"
    if scenario.fleet != "lab":
        return ""
    first, second = sorted((one, other))
    return f"{DEFAULT_RTT_MS.get((first, second), UNKNOWN_RTT_MS):g} ms"
