"""How far a campaign is: read from its file of results, also while it runs."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from e3.errors import ResultsError
from e3.evaluation.campaign.place import CAMPAIGNS, RESULTS, doing, results_of
from e3.evaluation.results import (
    CampaignRecord,
    CellRecord,
    CellState,
    Record,
    RepetitionRecord,
    SetupRecord,
)
from e3.evaluation.results_file import records
from e3.session.verdicts import Verdict

HEADER = ("", "cell", "repetitions", "verdicts", "disturbed", "what")


@dataclass(frozen=True, kw_only=True)
class CellOverview:
    """How far one cell is; ``what`` is why it ended so, or what happens there now."""

    cell: str
    state: CellState | Literal["waiting", "running"]
    what: str
    total: int
    verdicts: Counter[Verdict]
    disturbed: int

    @property
    def finished(self) -> int:
        """The repetitions that have finished."""
        return self.verdicts.total()


@dataclass(frozen=True, kw_only=True)
class Overview:
    """How far a campaign is; ``left_seconds`` is None if nothing has finished yet."""

    name: str
    cells: Sequence[CellOverview]
    running: bool
    left_seconds: float | None

    def rows(self) -> list[Sequence[str]]:
        """Return a row for each cell, in words."""
        return [
            (
                cell.state,
                cell.cell,
                f"{cell.finished}/{cell.total}",
                ", ".join(f"{count} {verdict}" for verdict, count in cell.verdicts.items()) or "-",
                str(cell.disturbed),
                cell.what,
            )
            for cell in self.cells
        ]

    @property
    def summary(self) -> str:
        """One sentence about all cells."""
        states = Counter(cell.state for cell in self.cells)
        told = ", ".join(f"{count} {state}" for state, count in states.items())
        if not self.left_seconds:
            left = ""
        elif self.running:
            left = f"; about {self.left_seconds / 60:.0f} min left"
        else:
            left = "; it was interrupted, and `e3 campaign run` continues it"
        return f"campaign {self.name}: {told}{left}"


def latest(root: Path) -> str:
    """Return the name of the campaign whose results were written last."""
    found = sorted((root / CAMPAIGNS).glob(f"*/{RESULTS}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ResultsError("no campaign has run here; try `e3 campaign run campaigns/small.yaml`")
    return found[-1].parent.name


def read(root: Path, name: str) -> Overview:
    """Return how far a campaign is; raise `ResultsError` if it has no results."""
    path = results_of(root, name)
    told = doing(root, name)
    return overview(list(records(path)), told.cells if told else {}, running=told is not None)


def overview(found: Sequence[Record], working: dict[str, str], *, running: bool) -> Overview:
    """Return what records say of a campaign. Pure."""
    campaign = found[0]
    assert isinstance(campaign, CampaignRecord)  # noqa: S101 - the reader has checked it
    ended = {it.cell: it for it in found if isinstance(it, CellRecord)}
    done: dict[str, list[RepetitionRecord]] = {}
    for record in found:
        if isinstance(record, RepetitionRecord):
            done.setdefault(record.cell, []).append(record)
    cells = []
    for overlay in campaign.overlays:
        for scenario in campaign.scenarios:
            if not scenario.has(overlay.id):
                continue
            name = f"{overlay.id}/{scenario.id}"
            programs = [program for program in campaign.programs if scenario.runs(program.id)]
            end, of_cell = ended.get(name), done.get(name, [])
            cells.append(
                CellOverview(
                    cell=name,
                    state=end.state if end else "running" if name in working else "waiting",
                    what=end.reason if end else working.get(name, ""),
                    total=campaign.repetitions * len(programs),
                    verdicts=Counter(it.verdict for it in of_cell),
                    disturbed=sum(bool(it.disturbances) for it in of_cell),
                )
            )
    return Overview(
        name=campaign.name, cells=cells, running=running, left_seconds=_left(found, cells)
    )


def _left(found: Sequence[Record], cells: Sequence[CellOverview]) -> float | None:
    """Return the seconds that the cells without an end will take, by those that have one."""
    took = [_seconds(it) for it in found if isinstance(it, RepetitionRecord)]
    open_cells = [cell for cell in cells if cell.state in {"waiting", "running"}]
    if not open_cells:
        return 0.0
    if not took:
        return None
    besides = _besides(found)
    known = [seconds for each in besides.values() for seconds in each]
    if not known:
        known = [
            it.deploy_seconds + it.measuring_seconds for it in found if isinstance(it, SetupRecord)
        ]
    repetitions = sum(cell.total - cell.finished for cell in open_cells)
    return repetitions * statistics.fmean(took) + sum(
        statistics.median(besides.get(_scenario(cell.cell), known)) for cell in open_cells
    )


def _besides(found: Sequence[Record]) -> dict[str, list[float]]:
    """Return what ended cells took besides their repetitions, in seconds, by scenario.

    That is making, joining, observing and removing; of a cell that was resumed, the pause as well.
    """
    began: dict[str, datetime] = {}
    repeated: defaultdict[str, float] = defaultdict(float)
    besides: dict[str, list[float]] = {}
    for record in found:
        if isinstance(record, SetupRecord):
            began.setdefault(record.cell, datetime.fromisoformat(record.started))
        elif isinstance(record, RepetitionRecord):
            repeated[record.cell] += _seconds(record)
        elif isinstance(record, CellRecord) and record.cell in began:
            whole = datetime.fromisoformat(record.ended) - began[record.cell]
            rest = whole.total_seconds() - repeated[record.cell]
            besides.setdefault(_scenario(record.cell), []).append(max(rest, 0.0))
    return besides


def _seconds(record: RepetitionRecord) -> float:
    return record.wall_seconds + record.measuring_seconds + record.own_seconds


def _scenario(cell: str) -> str:
    return cell.partition("/")[2]
