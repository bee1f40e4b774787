"""The figures of one campaign: what a report needs of its results, in memory of bounded size.

Of a repetition a row of numbers is kept; of text and of pairs of hosts a bounded part.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from e3.errors import ResultsError
from e3.evaluation import results_file
from e3.evaluation.observations import ObservationRecord
from e3.evaluation.results import (
    CampaignRecord,
    CellRecord,
    DisturbanceKind,
    OverlayChoice,
    Record,
    RepetitionRecord,
    RoundTrip,
    ScenarioChoice,
    SetupRecord,
)
from e3.session.verdicts import Verdict

Values = NDArray[np.float64]
Column: TypeAlias = "array[float]"

MOST_CELLS = 2_500
"""The most cells of a campaign of which a page is made."""

UNEVEN = 2.0
"""Cells whose machines' loads differ by more are not compared without a warning."""

KEPT_FAILURES = 200
KEPT_OBSERVATIONS = 20_000
KEPT_ECHOES = 500
"""Of each pair and layer of a cell."""

COLUMNS = (
    "order",
    "online_seconds",
    "setup_seconds",
    "wall_seconds",
    "own_seconds",
    "measuring_seconds",
    "sent_bytes",
    "wire_bytes",
    "packets",
    "cpu_seconds",
    "busiest_cpu_seconds",
    "peak_memory_bytes",
    "daemon_cpu_seconds",
    "daemon_peak_memory_bytes",
    "stated_rounds",
    "stated_bytes",
    "stated_openings",
    "paths_changed",
    "relayed_share",
    "handshakes",
    "energy_joules",
)
"""The numbers of a repetition: sums over its parties or hosts, except that ``busiest_*``,
``peak_*``, ``daemon_peak_*`` and ``stated_*`` are those of the largest."""

OVERLAY_NAME = "plain"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A repetition that did not complete."""

    cell: str
    program: str
    repetition: int
    verdict: str
    reason: str


@dataclass
class Runs:
    """The repetitions of one program in one cell.

    ``columns`` has a number for each completed repetition, NaN for what was not measured.
    ``verdicts`` counts all of them, also those that were left out. ``sent_bytes_to`` is what each
    party sent to each, by pid, in the last repetition that has it.
    """

    cell: str
    program: str
    columns: dict[str, Column] = field(
        default_factory=lambda: {name: array("d") for name in COLUMNS}
    )
    verdicts: Counter[str] = field(default_factory=Counter)
    disturbed: Counter[DisturbanceKind] = field(default_factory=Counter)
    sent_bytes_to: Mapping[int, Sequence[int]] = field(default_factory=dict)
    disturbed_repetitions: int = 0
    left_out: int = 0

    def values(self, column: str) -> Values:
        """Return what was measured, without what was not."""
        values = np.array(self.columns[column], dtype=np.float64)
        return values[~np.isnan(values)]

    @property
    def completed(self) -> int:
        """How many completed repetitions the figures are of."""
        return len(self.columns["order"])

    @property
    def total(self) -> int:
        """How many repetitions ended, whatever their verdict."""
        return sum(self.verdicts.values())


@dataclass
class Cell:
    """One overlay in one scenario.

    ``state`` is None if the campaign has not come to its end. ``echoes`` are medians of round
    trips in milliseconds, by source, target and layer; ``rates`` the throughput in Mbit/s.
    """

    name: str
    overlay: OverlayChoice
    scenario: ScenarioChoice
    state: str | None = None
    reason: str = ""
    setups: list[SetupRecord] = field(default_factory=list)
    destroy_seconds: float | None = None
    echoes: dict[tuple[str, str, str], Column] = field(default_factory=dict)
    rates: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    echo_sent: Counter[str] = field(default_factory=Counter)
    echo_lost: Counter[str] = field(default_factory=Counter)

    def rtt_ms(self, layer: str) -> Mapping[tuple[str, str], float]:
        """Return the median round trip of each ordered pair that was measured."""
        return {
            (source, target): float(np.median(values))
            for (source, target, of), values in self.echoes.items()
            if of == layer and len(values)
        }

    @property
    def seats(self) -> Mapping[str, int]:
        """Return the party of each host in a session of one party a host; empty if not joined."""
        hosts = self.setups[-1].hosts if self.setups else []
        return {host.name: host.pid for host in hosts if host.pid is not None}

    def mbit_per_second(self, layer: str) -> Mapping[tuple[str, str], float]:
        """Return the median throughput of each ordered pair that was measured."""
        return {
            (source, target): float(np.median(values))
            for (source, target, of), values in self.rates.items()
            if of == layer
        }


@dataclass
class Study:
    """The figures of one campaign.

    ``runs`` is by cell and program, in the order of the matrix, also where nothing was run.
    ``unfinished``: the campaign has cells that have not ended.
    """

    campaign: CampaignRecord
    leaves_out_disturbed: bool
    cells: dict[str, Cell]
    runs: dict[tuple[str, str], Runs]
    failures: list[Failure] = field(default_factory=list)
    observations: list[ObservationRecord] = field(default_factory=list)
    failed: int = 0
    unfinished: bool = False
    own_seconds: float = 0.0
    measuring_seconds: float = 0.0
    session_seconds: float = 0.0

    @property
    def repetitions(self) -> int:
        """How many repetitions have ended."""
        return sum(runs.total for runs in self.runs.values())

    @property
    def baseline(self) -> OverlayChoice | None:
        """The overlay of the matrix to which others are compared: `plain` as it is."""
        for overlay in self.campaign.overlays:
            if overlay.overlay == OVERLAY_NAME and not overlay.tls:
                return overlay
        return None

    @property
    def uneven_load(self) -> tuple[float, float] | None:
        """The least and the most load at the set-up of cells, if some had far busier machines.

        That is: more than twice the load of another, and more than a process for each processor.
        """
        machines = [setup.machine for _, setup in self.ends()]
        loads = [machine.load_1m / machine.cores for machine in machines]
        if not loads or max(loads) <= max(1.0, UNEVEN * min(loads)):
            return None
        return min(machine.load_1m for machine in machines), max(m.load_1m for m in machines)

    def made_by(self, setup: SetupRecord) -> tuple[str, str]:
        """Return version and commit of the E3 that ran a cell, as its set-up or the file says."""
        if setup.e3:
            return setup.e3, setup.commit
        return self.campaign.e3, self.campaign.commit

    @property
    def commits(self) -> Sequence[str]:
        """The commits of E3 of which cells are, each once; that of the campaign without any."""
        setups = [setup for cell in self.cells.values() for setup in cell.setups]
        found = dict.fromkeys(self.made_by(setup)[1] for setup in setups)
        return list(found) or [self.campaign.commit]

    def of(self, overlay: str, scenario: str, program: str) -> Runs:
        """Return the repetitions of a program in a cell; none where the matrix has no such."""
        cell = f"{overlay}/{scenario}"
        return self.runs.get((cell, program)) or Runs(cell=cell, program=program)

    def ends(self) -> Iterator[tuple[Cell, SetupRecord]]:
        """Yield each cell that was joined, with its last set-up."""
        for cell in self.cells.values():
            if cell.setups:
                yield cell, cell.setups[-1]


def load(path: Path, *, leave_out_disturbed: bool = False) -> Study:
    """Read a file of results; raise `ResultsError` for anything wrong but a last line that is cut.

    ``leave_out_disturbed``: repetitions that something disturbed count, but their figures do not.
    """
    reader = results_file.records(path)
    first = next(reader, None)
    if not isinstance(first, CampaignRecord):
        raise ResultsError(f"{path}: has no whole line yet: nothing was measured")
    study = _begin(first, leave_out_disturbed=leave_out_disturbed)
    for record in reader:
        _take(study, record)
    study.unfinished = any(each.state is None for each in study.cells.values())
    return study


def _begin(campaign: CampaignRecord, *, leave_out_disturbed: bool) -> Study:
    number = len(campaign.overlays) * len(campaign.scenarios)
    if number * len(campaign.programs) > MOST_CELLS:
        raise ResultsError(
            f"campaign {campaign.name} has {number} cells with {len(campaign.programs)} programs "
            f"each; a report has at most {MOST_CELLS} of these: export it and choose"
        )
    cells = {
        f"{overlay.id}/{scenario.id}": Cell(
            name=f"{overlay.id}/{scenario.id}", overlay=overlay, scenario=scenario
        )
        for overlay in campaign.overlays
        for scenario in campaign.scenarios
        if scenario.has(overlay.id)
    }
    return Study(
        campaign=campaign,
        leaves_out_disturbed=leave_out_disturbed,
        cells=cells,
        runs={
            (name, program.id): Runs(cell=name, program=program.id)
            for name, cell in cells.items()
            for program in campaign.programs
            if cell.scenario.runs(program.id)
        },
    )


def _take(study: Study, record: Record) -> None:
    match record:
        case SetupRecord():
            cell = study.cells[record.cell]
            cell.setups.append(record)
            study.measuring_seconds += record.measuring_seconds
            _note_echoes(cell, record.baseline)
            for one in record.throughput:
                if one.mbit_per_second is not None:
                    key = (one.source, one.target, one.layer)
                    cell.rates.setdefault(key, []).append(one.mbit_per_second)
        case RepetitionRecord():
            _note_repetition(study, record)
        case ObservationRecord():
            if len(study.observations) < KEPT_OBSERVATIONS:
                study.observations.append(record)
        case CellRecord():
            cell = study.cells[record.cell]
            cell.state, cell.reason = record.state, record.reason
            cell.destroy_seconds = record.destroy_seconds
        case CampaignRecord():  # the file's reader has refused a second one
            pass


def _note_echoes(cell: Cell, trips: Iterable[RoundTrip]) -> None:
    for trip in trips:
        cell.echo_sent[trip.layer] += trip.sent
        cell.echo_lost[trip.layer] += trip.lost
        if trip.median_ms is not None:
            key = (trip.source, trip.target, trip.layer)
            kept = cell.echoes.setdefault(key, array("d"))
            if len(kept) < KEPT_ECHOES:
                kept.append(trip.median_ms)


def _note_repetition(study: Study, record: RepetitionRecord) -> None:
    runs = study.runs[record.cell, record.program]
    runs.verdicts[record.verdict] += 1
    runs.disturbed.update({disturbance.kind for disturbance in record.disturbances})
    runs.disturbed_repetitions += bool(record.disturbances)
    study.own_seconds += record.own_seconds
    study.measuring_seconds += record.measuring_seconds
    study.session_seconds += record.wall_seconds
    _note_echoes(study.cells[record.cell], record.round_trips)
    if record.verdict is not Verdict.COMPLETED:
        study.failed += 1
        if len(study.failures) < KEPT_FAILURES:
            failure = Failure(
                cell=record.cell,
                program=record.program,
                repetition=record.repetition,
                verdict=record.verdict,
                reason=record.reason,
            )
            study.failures.append(failure)
    elif record.disturbances and study.leaves_out_disturbed:
        runs.left_out += 1
    else:
        if all(party.sent_bytes_to for party in record.parties):
            runs.sent_bytes_to = {party.pid: party.sent_bytes_to for party in record.parties}
        for name, value in row(record).items():
            runs.columns[name].append(math.nan if value is None else value)


def row(record: RepetitionRecord) -> dict[str, float | None]:
    """Return the numbers of a repetition, by the names of `COLUMNS`."""
    parties, hosts, paths = record.parties, record.hosts, record.paths
    classes = [path.before for path in paths]
    return {
        "order": record.order,
        "online_seconds": record.online_seconds,
        "setup_seconds": record.setup_seconds,
        "wall_seconds": record.wall_seconds,
        "own_seconds": record.own_seconds,
        "measuring_seconds": record.measuring_seconds,
        "sent_bytes": _total([party.sent_bytes for party in parties]),
        "wire_bytes": _total([host.sent_wire_bytes for host in hosts]),
        "packets": _total([host.sent_packets for host in hosts]),
        "cpu_seconds": _total([party.cpu_seconds for party in parties]),
        "busiest_cpu_seconds": _most([party.cpu_seconds for party in parties]),
        "peak_memory_bytes": _most([party.peak_memory_bytes for party in parties]),
        "daemon_cpu_seconds": _total([host.daemon_cpu_seconds for host in hosts]),
        "daemon_peak_memory_bytes": _most([host.daemon_peak_memory_bytes for host in hosts]),
        "stated_rounds": _most([party.stated_rounds for party in parties]),
        "stated_bytes": _most([party.stated_bytes for party in parties]),
        "stated_openings": _most([party.stated_openings for party in parties]),
        "paths_changed": sum(path.after not in {None, path.before} for path in paths),
        "relayed_share": classes.count("relayed") / len(classes) if classes else None,
        "handshakes": sum(record.handshakes.values()) if record.handshakes else None,
        "energy_joules": record.energy_joules,
    }


def _total(values: Sequence[float | None]) -> float | None:
    """Return the sum; None if anything of it was not measured."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _most(values: Sequence[float | None]) -> float | None:
    """Return the largest; None if anything was not measured."""
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None
