"""A clock that is set during a real repetition: it is flagged, and no figure depends on it."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e3.deployed import Stack
from e3.evaluation.campaign import cell as cells
from e3.evaluation.campaign import machine, matrix
from e3.evaluation.campaign.gauges import open_gauges
from e3.evaluation.report import study
from e3.evaluation.results import RepetitionRecord
from e3.evaluation.results_file import Writer
from e3.lab.client import Lab
from e3.session.verdicts import Verdict
from tests import campaigns
from tests.labs import running, unjoined

ROOT = Path(__file__).parents[2]
ROUNDS = ROOT / "campaigns/programs/rounds.py"
HOUR = 3600.0
STEPS = (0.0, HOUR, -HOUR)
"""By how many seconds the clock of each repetition is set."""

UNSTEADY = f"""
import itertools, time
_day, _calls = time.time, itertools.count()
time.time = lambda: _day() - {HOUR} * (next(_calls) % 2)
"""
"""The head of a program whose time of day goes to and fro."""


@dataclass
class SetClock:
    """A time of day that is set by ``step`` seconds, a moment after it was first read."""

    step: float
    ahead: float = 0.0
    timer: threading.Timer | None = None

    def __call__(self) -> float:
        """Return the time of day."""
        if self.timer is None:
            self.timer = threading.Timer(0.3, lambda: setattr(self, "ahead", self.step))
            self.timer.start()
        return time.time() + self.ahead


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("lab"), {("a", "a"): 2.0}, ["a"]) as lab:
        lab.add_hosts([(f"a-{number}", "a") for number in range(3)])
        yield lab


@pytest.fixture(scope="module")
def results(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, list[tuple[RepetitionRecord, float]]]]:
    """A campaign of real repetitions, with what each took in seconds as this test saw it."""
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "demos").symlink_to(ROOT / "demos")
    program = folder / "rounds.py"
    head, _, body = ROUNDS.read_text().partition("import argparse")
    program.write_text(f"{head}{UNSTEADY}import argparse{body}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # evidence of sessions is relative to it
        stack = unjoined([handle.host() for handle in lab.hosts()])
        yield folder / "results.jsonl", asyncio.run(repeated(folder, stack, lab, program))


async def repeated(
    folder: Path, stack: Stack, lab: Lab, program: Path
) -> list[tuple[RepetitionRecord, float]]:
    asked = matrix.parse(
        {
            "name": "trial",
            "repetitions": len(STEPS),
            "overlays": {"plain": None},
            "scenarios": {"near": {"regions": {"a": 3}, "latency-ms": {"a-a": 2}}},
            "programs": {"rounds": {"program": str(program), "args": "--openings 5"}},
        },
        "trial.yaml",
    )
    (cell,) = asked.cells
    found = []
    with Writer(folder / "results.jsonl") as writer:
        progress = campaigns.progress(asked, folder, writer)
        setup = campaigns.setup(machine=machine.facts())
        writer.write(
            campaigns.campaign(
                overlays=[cell.overlay], scenarios=[cell.scenario], programs=list(asked.programs)
            )
        )
        writer.write(setup)
        async with open_gauges(stack) as gauges:
            bench = cells.Bench(
                cell=cell,
                joined=stack,
                settings=cell.experiment().session,
                authority=None,
                gauges=gauges,
                labs=[int(lab.status()["pid"])],
                setup=setup,
                progress=progress,
            )
            for work, step in zip(asked.work(cell), STEPS, strict=True):
                progress.clocks = machine.Clocks(day=SetClock(step))
                began = time.monotonic()
                done = await bench.repeat(work)
                found.append((done, time.monotonic() - began))
                progress.write(done)
    return found


def test_a_step_of_the_clock_is_flagged_in_its_repetition_alone(
    results: tuple[Path, list[tuple[RepetitionRecord, float]]],
) -> None:
    flagged = [
        [round(it.value) for it in done.disturbances if it.kind == "clock"]
        for done, _ in results[1]
    ]
    assert flagged == [[], [HOUR], [-HOUR]]
    told = [it.detail for done, _ in results[1] for it in done.disturbances if it.kind == "clock"]
    assert told[0].startswith("the clock of this machine was set by +3600.0")


def test_no_figure_depends_on_the_time_of_day(
    results: tuple[Path, list[tuple[RepetitionRecord, float]]],
) -> None:
    """Neither on that of the machine, nor on that of a party."""
    for done, took in results[1]:
        assert done.verdict is Verdict.COMPLETED, done.reason
        assert done.setup_seconds is not None
        assert done.online_seconds is not None
        assert 0 < done.setup_seconds + done.online_seconds < done.wall_seconds < took
        parts = done.wall_seconds + done.own_seconds + done.measuring_seconds
        assert parts == pytest.approx(took, abs=0.2)
        assert all(0 < party.seconds < took for party in done.parties)
        assert all(trip.lost == 0 and 2 <= (trip.least_ms or 0) < 1000 for trip in done.round_trips)


def test_a_report_can_leave_out_what_was_stepped(
    results: tuple[Path, list[tuple[RepetitionRecord, float]]],
) -> None:
    calm = sum(not done.disturbances for done, _ in results[1])
    whole, least = (study.load(results[0], leave_out_disturbed=leaves) for leaves in (False, True))
    key = ("plain/near", "rounds")
    assert (whole.runs[key].completed, least.runs[key].completed) == (3, calm)
    assert whole.runs[key].disturbed["clock"] == 2
