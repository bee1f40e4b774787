"""Measure which path each overlay finds between hosts behind every two kinds of NAT.

For each overlay, one lab has two hosts of each kind, by a name of `e3.nats`, and two more public
ones, which become relays, lighthouses and control servers. All are joined at once, and every pair
exchanges data until the paths are stable, and a while longer. docs/nat-matrix.yaml says what is
expected, and why.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from e3 import contact, nats, reachability
from e3.authority import nebula_cert
from e3.authority.local import NebulaCa
from e3.errors import ConfigurationError
from e3.interfaces import Authority, Host, Overlay
from e3.lab import client
from e3.nats import Reachability
from e3.paths import PairPath, PathClass

EXPECTATIONS = client.PROJECT / "docs" / "nat-matrix.yaml"
CLASSES: Sequence[str] = (*nats.CLASSES, "port-mapping", "shared-home")
"""Other NATs of `e3.nats` differ from one of these in what no path depends on."""
SERVERS = ("core-0", "core-1")
RTT_MS = 10.0
AUTHORITY_SECONDS = 365 * 86_400  # longer than any certificate
SURVEY_SECONDS = 20.0
HOPELESS_SECONDS = 4.0
"""How long a pair is tried over an overlay that does not cross NATs."""

CellOutcome = PathClass | Literal["unsupported"]
Kinds = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The path that is expected for matching pairs, and why."""

    pair: tuple[str, str]
    path: CellOutcome
    because: str


@dataclass(frozen=True, kw_only=True)
class Expectations:
    """The content of docs/nat-matrix.yaml."""

    groups: Mapping[str, Sequence[str]]
    overlays: Mapping[str, Sequence[Rule]]

    def of(self, overlay: str, kinds: Kinds) -> Rule:
        """Return the rule of an overlay for a pair of classes; raise `ConfigurationError`."""
        for rule in self.overlays.get(overlay, ()):
            one, other = (self._members(name) for name in rule.pair)
            if (kinds[0] in one and kinds[1] in other) or (kinds[1] in one and kinds[0] in other):
                return rule
        raise ConfigurationError(
            f"{EXPECTATIONS.name}: {overlay} has no rule for {kinds[0]} and {kinds[1]}; add one"
        )

    def _members(self, name: str) -> Sequence[str]:
        return CLASSES if name == "any" else self.groups.get(name, [name])


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What was found between two classes of hosts.

    ``found`` has the class of path that each pair had most of the time at the end, in either
    direction, and ``at_times`` the other ones that any of them had then. ``rtt_ms`` is the least
    that was measured, and ``by`` names the relays. ``direct_within_seconds`` is the time from the
    start of the overlay to the end of the first survey in which the last of the pairs was direct.
    """

    kinds: Kinds
    found: tuple[CellOutcome, ...]
    expected: CellOutcome
    because: str
    at_times: tuple[CellOutcome, ...] = ()
    by: tuple[str, ...] = ()
    rtt_ms: float | None = None
    direct_within_seconds: float | None = None

    @property
    def as_expected(self) -> bool:
        """Whether all pairs of these classes are as they should be."""
        return self.found == (self.expected,)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The cells of one overlay, one for each unordered pair of classes.

    ``connect_seconds`` is what `Overlay.connect` took for all hosts at once.
    """

    overlay: str
    connect_seconds: float
    cells: Sequence[Cell]

    @property
    def surprises(self) -> Sequence[Cell]:
        """The cells that are not as expected."""
        return [cell for cell in self.cells if not cell.as_expected]


def load() -> Expectations:
    """Return the content of docs/nat-matrix.yaml."""
    return msgspec.convert(yaml.safe_load(EXPECTATIONS.read_text()), Expectations)


def measure(  # noqa: PLR0913 - what is measured, where, and for how long
    name: str,
    overlay: Overlay,
    folder: Path,
    *,
    settle_seconds: float,
    watch_seconds: float = 0.0,
    classes: Sequence[str] = CLASSES,
) -> Matrix:
    """Return the matrix of an overlay, from a lab in ``folder`` that is then removed.

    Paths may change for ``settle_seconds``, and are then watched for ``watch_seconds``.
    """
    expected = load()
    able = [kind for kind in classes if _joins(name, overlay, kind)]
    kinds = {f"{_region(kind)}-{i}": kind for kind in able for i in (0, 1)}
    with _hosts(folder, kinds) as hosts:
        seen = asyncio.run(_observe(overlay, hosts, settle_seconds, watch_seconds))
    cells = []
    for pair in combinations_with_replacement(classes, 2):
        rule = expected.of(name, pair)
        joined = {*pair} <= {*able}
        cells.append(cell_of(pair, rule, kinds, seen) if joined else _refused(pair, rule))
    return Matrix(overlay=name, connect_seconds=round(seen.connect_seconds, 1), cells=cells)


def _joins(name: str, overlay: Overlay, kind: str) -> bool:
    """Return whether an overlay declares that it can join such a host to public ones."""
    with_servers: dict[str, Reachability] = dict.fromkeys(SERVERS, "public")
    needs = reachability.needs_of(overlay)
    behaviour = nats.NAMED[kind]
    own: Reachability = behaviour.reachability if behaviour else "public"
    return reachability.shortfall(name, needs, {**with_servers, "host": own}) is None


@contextmanager
def _hosts(folder: Path, kinds: Mapping[str, str]) -> Iterator[list[Host]]:
    wanted = [(name, name.partition("-")[0]) for name in (*SERVERS, *kinds)]
    regions = list(dict.fromkeys(region for _, region in wanted))
    rtt_ms = dict.fromkeys(combinations_with_replacement(regions, 2), RTT_MS)
    try:
        lab = client.start(folder, rtt_ms)
        for region in regions:
            lab.add_region(region)
        yield [handle.host() for handle in lab.add_hosts(wanted, kinds)]
    finally:
        client.stop(folder)


def _region(kind: str) -> str:
    return kind.replace("-", "")[:12]  # with its index the name of an interface


Look = Mapping[contact.Pair, PairPath]
"""The path of each ordered pair at one time; those without any are missing."""


@dataclass(frozen=True)
class Observation:
    """What was seen of each ordered pair at the end, and when it was first direct."""

    connect_seconds: float
    looks: Sequence[Look]
    direct_within_seconds: Mapping[contact.Pair, float]

    def classes(self, pair: contact.Pair) -> Mapping[PathClass, int]:
        """Return the classes of path that a pair had, the usual one first."""
        seen = (look[pair].path_class if pair in look else "none" for look in self.looks)
        return dict(Counter(seen).most_common())

    def paths(self, pair: contact.Pair) -> Sequence[PairPath]:
        """Return the paths of a pair that were of its usual class."""
        usual = next(iter(self.classes(pair)))
        found = [look[pair] for look in self.looks if pair in look]
        return [path for path in found if path.path_class == usual]


async def _observe(
    overlay: Overlay, hosts: Sequence[Host], settle_seconds: float, watch_seconds: float
) -> Observation:
    """Join the hosts, and survey every pair until the paths are stable and were watched."""
    authority = await _authority(overlay)
    began = time.monotonic()
    network = await overlay.connect(hosts, authority, None)
    connected = time.monotonic()
    settles = overlay.needs.crosses_nats
    limit = SURVEY_SECONDS if settles else HOPELESS_SECONDS
    settled = connected + (settle_seconds if settles else 0)
    watched = settled + (watch_seconds if settles else 0)
    direct_within_seconds: dict[contact.Pair, float] = {}
    looks: list[Look] = []
    while not looks or time.monotonic() < watched:
        started = time.monotonic()
        survey = await contact.survey(overlay, hosts, network, timeout_seconds=limit, everyone=True)
        look = {(path.source, path.target): path for path in survey.paths}
        for pair, path in look.items():
            if path.path_class == "direct":
                direct_within_seconds.setdefault(pair, time.monotonic() - began)
        if started >= settled:
            looks.append(look)
    return Observation(connected - began, looks, direct_within_seconds)


async def _authority(overlay: Overlay) -> Authority | None:
    if overlay.needs.authority is None:
        return None
    certificate, key = await nebula_cert.make_authority("nat-matrix", AUTHORITY_SECONDS)
    return NebulaCa(certificate=certificate, key=key)


def cell_of(kinds: Kinds, rule: Rule, hosts: Mapping[str, str], seen: Observation) -> Cell:
    """Return the cell of two classes; ``hosts`` are the names of all hosts with their class."""
    pairs = [(a, b) for a in hosts for b in hosts if a != b and (hosts[a], hosts[b]) == kinds]
    both = pairs + [(b, a) for a, b in pairs]
    paths = [path for pair in both for path in seen.paths(pair)]
    classes = [list(seen.classes(pair)) for pair in both]
    found: set[CellOutcome] = {usual for usual, *_ in classes}
    others: set[CellOutcome] = {other for _, *rest in classes for other in rest}
    direct = [
        seen.direct_within_seconds[pair] for pair in both if pair in seen.direct_within_seconds
    ]
    return Cell(
        kinds=kinds,
        found=tuple(sorted(found)),
        expected=rule.path,
        because=rule.because,
        at_times=tuple(sorted(others - found)),
        by=tuple(sorted({path.by for path in paths if path.by})),
        rtt_ms=min((path.rtt_ms for path in paths), default=None),
        direct_within_seconds=round(max(direct), 1) if len(direct) == len(both) else None,
    )


def _refused(kinds: Kinds, rule: Rule) -> Cell:
    return Cell(kinds=kinds, found=("unsupported",), expected=rule.path, because=rule.because)
