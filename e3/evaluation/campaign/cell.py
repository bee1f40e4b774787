"""Run one cell: bring its stack up, run its repetitions on it, and remove it again."""

import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from e3 import reachability
from e3.deployed import Stack
from e3.errors import ConfigurationError, E3Error
from e3.evaluation.campaign import machine
from e3.evaluation.campaign.automation import CellStack
from e3.evaluation.campaign.convert import REASON_LENGTH, manifest, now, of_session
from e3.evaluation.campaign.gauges import Gauges, costs, handshakes, open_gauges, throughput
from e3.evaluation.campaign.matrix import Matrix, MatrixCell, Work
from e3.evaluation.campaign.observe import Planned, observe, planned
from e3.evaluation.observations import ObservationRecord
from e3.evaluation.results import (
    CellRecord,
    CellState,
    LinkQuality,
    RepetitionRecord,
    SetupRecord,
)
from e3.evaluation.results_file import Writer
from e3.experiment import SessionSettings
from e3.fleets import FLEETS
from e3.handshakes import TellsHandshakes
from e3.impairments import EVERYWHERE, Impairment, Pair
from e3.interfaces import Authority, Host
from e3.lab import slow
from e3.overlays import OVERLAYS
from e3.preflight import Equipment
from e3.registry import build
from e3.remote.tasks import in_thread
from e3.remote.text import printable
from e3.session import programs
from e3.session.prepare import prepare
from e3.session.progress import NullObserver
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict

GIVE_UP = 3
"""After so many repetitions in a row that did not complete, a cell is given up."""


@dataclass
class Progress:
    """What the cells of a campaign share: its file of results, and who is told what happens."""

    matrix: Matrix
    root: Path
    folder: Path
    writer: Writer
    tell: Callable[[str, str], None]
    e3: str
    commit: str
    clocks: machine.Clocks = machine.CLOCKS
    order: int = 0
    finished: set[tuple[str, str, int]] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    verdicts: dict[str, Counter[Verdict]] = field(default_factory=dict)
    setups: Counter[str] = field(default_factory=Counter)
    observed: set[tuple[str, int]] = field(default_factory=set)

    def take_known(self) -> None:
        """Take over what the file of results has already."""
        for record in self.writer.known:
            if isinstance(record, RepetitionRecord):
                self._note(record)
            elif isinstance(record, SetupRecord):
                self.setups[record.cell] += 1
            elif isinstance(record, ObservationRecord):
                self.observed.add((record.cell, record.number))
            elif isinstance(record, CellRecord):
                self.ended.add(record.cell)
        self.writer.known.clear()

    def write(self, record: RepetitionRecord) -> None:
        """Write a finished repetition."""
        self.writer.write(record)
        self._note(record)

    def observe(self, record: ObservationRecord) -> None:
        """Write an observation."""
        self.writer.write(record)
        self.observed.add((record.cell, record.number))

    def unobserved(self, cell: MatrixCell) -> list[Planned]:
        """Return the observations of a cell that have not been made, in their order."""
        return [
            each
            for each in planned(self.matrix, cell)
            if (cell.id, each.number) not in self.observed
        ]

    def _note(self, record: RepetitionRecord) -> None:
        self.order = max(self.order, record.order + 1)
        self.finished.add((record.cell, record.program, record.repetition))
        self.verdicts.setdefault(record.cell, Counter())[record.verdict] += 1

    def left(self, cell: MatrixCell) -> list[Work]:
        """Return the repetitions of a cell that have not finished, in their order."""
        return [
            work
            for work in self.matrix.work(cell)
            if (cell.id, work.program.id, work.repetition) not in self.finished
        ]


def unsupported(cell: MatrixCell) -> str | None:
    """Return why an overlay cannot do what a cell asks for, by its own declaration.

    Nor can it where its program, which is only built if somebody asks for it, is not here, or where
    this machine cannot make a host slow.
    """
    if cell.scenario.processors and (lacking := slow.shortfall()):
        return lacking
    experiment = cell.experiment()
    overlay = build(OVERLAYS, experiment.overlay, key="overlay")
    fleet = build(FLEETS, experiment.fleet, key="fleet")
    if fleet.own_programs and Equipment().left_out(overlay.needs):
        name = cell.overlay.overlay
        return f"{name} needs a program that is not here; `scripts/setup {name}` builds it"
    if overlay.needs.account is not None:
        try:
            overlay.assign(experiment.host_names, None)  # looks for what its account is used with
        except ConfigurationError:
            return f"{cell.overlay.overlay} needs {overlay.needs.account}"
    return reachability.shortfall(
        cell.overlay.overlay, reachability.needs_of(overlay), experiment.reachability
    )


async def run_cell(cell: MatrixCell, progress: Progress) -> None:
    """Run what is left of a cell, and write how it ended; its stack is removed in any case."""
    stack = CellStack(cell.stack, cell.values, progress.root)
    reason = unsupported(cell)
    if reason is not None:
        _end(cell, progress, "unsupported", reason)
        return
    await in_thread(stack.down)  # what a campaign left that was killed
    destroy_seconds = None
    try:
        open_work = progress.left(cell) or progress.unobserved(cell)
        reason = await _repeat(cell, stack, progress) if open_work else ""
    except (E3Error, TimeoutError, OSError) as error:
        reason = printable(error, REASON_LENGTH)
    finally:
        progress.tell(cell.id, "removing")
        began = time.monotonic()
        await in_thread(stack.down)
        destroy_seconds = round(time.monotonic() - began, 3)
    counted = progress.verdicts.get(cell.id, Counter())
    failed = counted.total() - counted[Verdict.COMPLETED]
    if failed and not reason:
        reason = f"{failed} of {counted.total()} repetitions did not complete"
    _end(cell, progress, "failed" if reason else "succeeded", reason, destroy_seconds)


def _end(
    cell: MatrixCell,
    progress: Progress,
    state: CellState,
    reason: str,
    destroy_seconds: float | None = None,
) -> None:
    counted = progress.verdicts.get(cell.id, Counter())
    progress.writer.write(
        CellRecord(
            cell=cell.id,
            ended=now(),
            state=state,
            reason=reason,
            verdicts=dict(counted),
            destroy_seconds=destroy_seconds,
        )
    )
    progress.ended.add(cell.id)
    progress.tell(cell.id, f"{state}: {reason}" if reason else state)


async def _repeat(cell: MatrixCell, stack: CellStack, progress: Progress) -> str:
    """Run the repetitions that are left; return why the cell was given up, "" if it was not."""
    progress.tell(cell.id, "deploying")
    started, began = now(), time.monotonic()
    joined, authority = await in_thread(stack.up)
    deploy_seconds = round(time.monotonic() - began, 3)
    if cell.scenario.links:
        asked = impairments(cell.scenario.links, list(cell.scenario.regions))
        stack.lab.impair(asked)
    if cell.scenario.processors:
        stack.lab.set_processors(cell.scenario.processors)
    labs = [int(stack.lab.status()["pid"])] if stack.lab.alive() else []
    async with open_gauges(joined) as gauges:
        measured = await _baseline(progress.matrix, gauges, joined)
        setup = SetupRecord(
            cell=cell.id,
            setup=progress.setups[cell.id],
            started=started,
            stack=cell.stack,
            deploy_seconds=deploy_seconds,
            **manifest(cell, joined),
            **measured,
            e3=progress.e3,
            commit=progress.commit,
        )
        progress.writer.write(setup)
        progress.setups[cell.id] += 1
        bench = Bench(
            cell=cell,
            joined=joined,
            settings=cell.experiment().session,
            authority=authority,
            gauges=gauges,
            labs=labs,
            setup=setup,
            progress=progress,
        )
        failures = 0
        left = progress.left(cell)
        for number, work in enumerate(left):
            progress.tell(
                cell.id, f"{work.program.id}, {number + 1} of {len(left)} repetitions that are left"
            )
            done = await bench.repeat(work)
            progress.write(done)
            failures = 0 if done.verdict is Verdict.COMPLETED else failures + 1
            if failures == GIVE_UP and number + 1 < len(left):
                return f"given up after {failures} failures in a row, the last: {done.reason}"
        if progress.unobserved(cell):
            await observe(bench, stack.lab, progress.unobserved(cell))
    return ""


async def _baseline(matrix: Matrix, gauges: Gauges, joined: Stack) -> dict[str, Any]:
    """Return the figures of the networks right after joining, as fields of a set-up."""
    measure, began = matrix.file.measure, time.monotonic()
    trips = await gauges.round_trips(measure.echoes)
    flows = await throughput(
        joined, trips, pairs=measure.throughput_pairs, seconds=measure.throughput_seconds
    )
    return {
        "baseline": trips,
        "throughput": flows,
        "measuring_seconds": round(time.monotonic() - began, 3),
    }


def impairments(links: Mapping[str, LinkQuality], regions: Sequence[str]) -> dict[Pair, Impairment]:
    """Return what a scenario adds to the links between regions. Pure.

    A pair's own replaces ``all``, while in ``e3:links`` it overrides single properties; and it
    applies to hosts that have been joined. Results of schema 2 mean both.
    """
    found: dict[Pair, Impairment] = {}
    for one, other in product(regions, repeat=2):
        names = (f"{one}-{other}", f"{other}-{one}", EVERYWHERE)
        asked = next((links[name] for name in names if name in links), None)
        if asked is not None:
            found[one, other] = Impairment(
                jitter_ms=asked.jitter_ms, loss=asked.loss, rate_mbit=asked.rate_mbit
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The joined hosts of a cell, with all that measures them."""

    cell: MatrixCell
    joined: Stack
    settings: SessionSettings
    authority: Authority | None
    gauges: Gauges
    labs: Sequence[int]
    setup: SetupRecord
    progress: Progress

    async def repeat(self, work: Work) -> RepetitionRecord:
        """Run one repetition and measure around it."""
        began, started = time.monotonic(), now()
        trips = await self.gauges.round_trips(self.progress.matrix.file.measure.echoes)
        before = await self.gauges.read(reset=True)
        moment = machine.look(self.labs, self.progress.clocks)
        measuring = time.monotonic() - began
        chosen, hosts = work.program, self.joined.hosts
        settings = self.settings_of(chosen.program, chosen.args, chosen.parties or len(hosts))
        result = await run_session(self.spec(settings, hosts))
        since = time.monotonic()
        later = machine.look(self.labs, self.progress.clocks)
        after = await self.gauges.read()
        measuring += time.monotonic() - since
        local = self.cell.scenario.fleet == "lab"
        found = machine.disturbances(moment, later, self.setup.machine.cores, local=local)
        if not local:  # the hosts of a lab have this machine's clock
            for host, then in before.usage.items():
                found += machine.clock_disturbances(then, after.usage[host], host)
        found += machine.off_baseline(self.setup.baseline, trips)
        if result.verdict is not Verdict.COMPLETED:
            self._keep(result)
        own = time.monotonic() - began - measuring - result.wall_seconds
        return RepetitionRecord(
            cell=self.cell.id,
            program=work.program.id,
            repetition=work.repetition,
            order=self.progress.order,
            setup=self.setup.setup,
            started=started,
            **of_session(result),
            own_seconds=round(max(own, 0.0), 4),
            measuring_seconds=round(measuring, 4),
            load_1m=machine.load_1m(),
            hosts=costs(before, after),
            round_trips=trips,
            disturbances=found,
            handshakes=self._handshakes(result, handshakes(before, after)),
            energy_joules=machine.joules(moment, later) if local else None,
        )

    def _handshakes(self, result: SessionResult, of_hosts: int | None) -> dict[str, int]:
        """Return how many pairs made a handshake, by kind."""
        found = {}
        overlay = self.joined.overlay
        if of_hosts is not None and isinstance(overlay, TellsHandshakes):
            found[overlay.handshake] = of_hosts
        if result.identity == "certificates" and result.setup_seconds is not None:
            # each pair of parties has one connection, and all of them are connected
            found["tls"] = found.get("tls", 0) + math.comb(len(result.parties), 2)
        return found

    def settings_of(self, program: str, args: Sequence[str], parties: int) -> SessionSettings:
        """Return the settings of a session of this cell."""
        return replace(
            self.settings,
            program=Path(program),
            args=tuple(args),
            parties=parties,
            deadline_seconds=self.progress.matrix.file.deadline_seconds,
        )

    def spec(self, settings: SessionSettings, hosts: Sequence[Host]) -> SessionSpec:
        """Return a session on these of its hosts."""
        return prepare(
            settings=settings,
            program=programs.load(settings.program, args=settings.args),
            joined=replace(self.joined.joined, hosts=hosts),
            sessions=self.joined.sessions,
            authority=self.authority,
            observer=NullObserver(),
        )

    def _keep(self, result: SessionResult) -> None:
        """Keep the evidence of a session that did not complete; its stack's files go away."""
        kept = self.progress.folder / "evidence" / result.id
        shutil.copytree(self.joined.sessions / result.id, kept, dirs_exist_ok=True)
