"""What observers of a cell read, whom they saw, and who got in: figures of its observations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from e3.evaluation.observations import Attack, Memory, ObservationRecord, Phase, Vantage, View
from e3.evaluation.report.study import Cell, Study

VANTAGES: Mapping[Vantage, str] = {
    "wire": "lines between regions",
    "region-router": "first router of a region",
    "home-router": "router at home",
    "neighbour": "neighbour host",
    "third-party": "host that takes no part",
}
PHASES: Sequence[Phase] = ("joining", "before", "during", "after")
ATTACKS: Mapping[str, str] = {
    "outsider": "a host outside",
    "on-link": "the same, with the router's help",
    "borrowed-address": "the same, from a member's address",
}


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What observers of one kind saw of the parties in a phase, the most that one of them did.

    ``pairs`` counts pairs of parties in no order. ``packets`` and ``bytes`` are of all of them.
    """

    hosts: int
    pairs: int
    names: Sequence[str]
    packets: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What observers of a cell found out.

    ``reading`` has the packets with the canary by observer, of those that were there; ``sights``
    what each saw by phase. ``memory`` is of the third party's daemons; empty if it was not
    searched. ``unseen_packets`` came too fast for the captures.
    """

    cell: Cell
    parties: Sequence[str]
    third: str
    reading: Mapping[Vantage, int]
    sights: Mapping[Vantage, Mapping[Phase, Sight]]
    memory: Sequence[Memory]
    unseen_packets: int
    reason: str

    @property
    def pairs(self) -> int:
        """The pairs of parties."""
        return len(self.parties) * (len(self.parties) - 1) // 2

    @property
    def searched(self) -> bool:
        """Whether there was memory of daemons to search."""
        return any(each.searched_bytes for each in self.memory)

    @property
    def copies(self) -> int:
        """The copies of the canary in the memory of the third party's daemons."""
        return sum(each.canary_copies for each in self.memory)

    @property
    def named(self) -> Sequence[str]:
        """The parties whose names that memory holds."""
        return sorted({name for each in self.memory for name in each.names})


@dataclass(frozen=True, kw_only=True)
class Tried:
    """The attacks on a cell, by kind; ``reason`` says why there are none."""

    cell: Cell
    attacks: Mapping[str, Attack]
    reason: str


def exposures(study: Study) -> Sequence[Exposure]:
    """Return what the canaries of a campaign showed, in the order of its cells."""
    return [
        _exposure(cell, record)
        for name, cell in study.cells.items()
        for record in study.observations
        if record.cell == name and record.what == "canary" and cell.setups
    ]


def tried(study: Study) -> Sequence[Tried]:
    """Return which attacks succeeded, in the order of cells."""
    return [
        Tried(
            cell=cell,
            attacks={each.attack: each for each in record.attacks},
            reason=record.reason,
        )
        for name, cell in study.cells.items()
        for record in study.observations
        if record.cell == name and record.what == "attack"
    ]


def _exposure(cell: Cell, record: ObservationRecord) -> Exposure:
    third = next((view.where for view in record.views if view.vantage == "third-party"), "")
    parties = [host.name for host in cell.setups[-1].hosts if host.name != third]
    reading: dict[Vantage, int] = {}
    for view in record.views:
        before = reading.get(view.vantage, 0)
        reading[view.vantage] = max(before, view.canary_packets)
    return Exposure(
        cell=cell,
        parties=parties,
        third=third,
        reading=reading,
        sights={
            vantage: {phase: _sight(record.views, vantage, phase, parties) for phase in PHASES}
            for vantage in VANTAGES
            if vantage in reading
        },
        memory=record.memory,
        unseen_packets=sum(view.unseen_packets for view in record.views),
        reason=record.reason,
    )


def _sight(views: Sequence[View], vantage: Vantage, phase: Phase, parties: Sequence[str]) -> Sight:
    mine = [view for view in views if view.vantage == vantage and view.phase == phase]
    among = {frozenset(pair) for pair in combinations(parties, 2)}
    return Sight(
        hosts=max(
            (len({*view.hosts, *view.overlay_hosts} & set(parties)) for view in mine), default=0
        ),
        pairs=max((len(among & set(map(frozenset, view.pairs))) for view in mine), default=0),
        names=sorted({name for view in mine for name in view.names}),
        packets=sum(view.packets for view in mine),
        bytes=sum(view.bytes for view in mine),
    )
