"""Truths of the instrument, on a real lab: what is equal is not told apart.

The two programs of the campaign are the same file with the same arguments. Their repetitions are in
random order on the same hosts, so that what differs between them is chance.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.evaluation.report import comparison, statistics, study
from tests.commands import Command
from tests.stack import Stack, project

pytestmark = [pytest.mark.lab, pytest.mark.long]

TOLERATED = 0.05
"""Of all comparisons, as many may differ by chance; and medians of two campaigns by so much."""

CAMPAIGN = {
    "seed": 15,
    "repetitions": 8,
    "measure": {"echoes": 5, "throughput-seconds": 0},
    "overlays": {"plain": None, "wireguard": None},
    "scenarios": {"two": {"regions": {"ams3": 2, "nyc3": 1}}},
    "programs": {
        name: {"program": "campaigns/programs/rounds.py", "args": "--openings 8"}
        for name in ("one", "same")
    },
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with project(tmp_path_factory.mktemp("project"), "campaigns", "pyproject.toml") as stack:
        yield stack


def run(stack: Stack, name: str) -> study.Study:
    """Run the campaign under a name, and return its figures."""
    file = Path(stack.folder, "campaigns", f"{name}.yaml")
    file.write_text(json.dumps({"name": name, **CAMPAIGN}))  # JSON is YAML
    done = Command(folder=stack.folder, environment=stack.environment)(
        "campaign", "run", f"campaigns/{name}.yaml"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return study.load(stack.folder / ".e3/campaigns" / name / "results.jsonl")


@pytest.fixture(scope="module")
def campaigns(stack: Stack) -> tuple[study.Study, study.Study]:
    """Two campaigns that differ in their name alone."""
    return run(stack, "first"), run(stack, "second")


def test_a_program_does_not_differ_from_itself(
    campaigns: tuple[study.Study, study.Study],
) -> None:
    ratios = []
    for of in campaigns:
        for cell in of.cells:
            one, same = (of.runs[cell, program] for program in ("one", "same"))
            ratio = statistics.compare(one.values("online_seconds"), same.values("online_seconds"))
            assert ratio is not None
            assert ratio.low is not None
            ratios.append(ratio)
    marked = [ratio for ratio in statistics.mark(ratios) if ratio.marked]
    assert len(ratios) == 4
    assert len(marked) <= TOLERATED * len(ratios), marked


def test_two_campaigns_of_one_seed_agree(campaigns: tuple[study.Study, study.Study]) -> None:
    """Their medians' intervals meet, but for what the machine's load may add in between."""
    found = comparison.compare(*campaigns)
    assert not found.unlike
    assert not found.states
    assert len(found.pairs) == 4
    apart = [
        pair
        for pair in found.pairs
        if pair.ratio.low is None
        or pair.ratio.high is None
        or not (pair.ratio.low <= 1 + TOLERATED and pair.ratio.high >= 1 - TOLERATED)
    ]
    assert not apart


def test_two_campaigns_of_one_seed_have_the_same_order(
    campaigns: tuple[study.Study, study.Study],
) -> None:
    orders = [
        sorted(
            (order, cell, program)
            for (cell, program), runs in of.runs.items()
            for order in runs.columns["order"]
        )
        for of in campaigns
    ]
    assert orders[0] == orders[1]
