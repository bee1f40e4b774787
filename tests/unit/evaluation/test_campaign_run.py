"""What a campaign refuses before anything is made, and how it takes up what has finished."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from e3.errors import ConfigurationError, ResultsError
from e3.evaluation.campaign import estimate, matrix, place, run
from e3.evaluation.results import CellRecord, Record
from e3.evaluation.results_file import Writer, read
from e3.session.verdicts import Verdict
from tests import campaigns

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    return tmp_path


def asked(**changes: Any) -> matrix.Matrix:  # noqa: ANN401 -- any value of YAML
    content = {
        "name": "trial",
        "repetitions": 2,
        "overlays": {"plain": None},
        "scenarios": {"near": {"regions": {"ams3": 2}}},
        "programs": {"hello": {"program": "demos/helloworld.py"}},
        **changes,
    }
    return matrix.parse(content, "trial.yaml")


def nothing(_cell: str, _what: str) -> None:
    """Tell nobody."""


def test_a_campaign_that_changed_does_not_mix_with_its_results(root: Path) -> None:
    path = place.results_of(root, "trial")
    with Writer(path) as writer:
        writer.write(run.header(asked(seed=1), root))
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="give the campaign another name"):
        asyncio.run(run.run(asked(seed=2), root, jobs=1, tell=nothing))
    assert path.read_bytes() == before


def test_a_campaign_does_not_go_on_in_another_schema(root: Path) -> None:
    path = place.results_of(root, "trial")
    with Writer(path) as writer:
        writer.write(msgspec.structs.replace(run.header(asked(), root), schema=2))
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="writes schema 2, and this one writes 3"):
        asyncio.run(run.run(asked(), root, jobs=1, tell=nothing))
    assert path.read_bytes() == before


def test_cells_that_are_not_asked_for_wait(root: Path) -> None:
    campaign = asked(overlays={"tailscale": None, "other": {"overlay": "tailscale"}})
    path = place.results_of(root, "trial")
    for only, ended in [(["other"], ["other/near"]), ([], ["other/near", "tailscale/near"])]:
        asyncio.run(run.run(campaign, root, jobs=1, tell=nothing, only=only))
        assert [it.cell for it in read(path) if isinstance(it, CellRecord)] == ended
    (told, *_, time, _money) = estimate.lines(campaign, root, jobs=1, only=["other"])
    assert "1 cells" in told
    assert time == "time: about 0 min (an estimate for the lab on two idle cores)"


def test_who_goes_on_with_another_commit_is_told(root: Path) -> None:
    campaign, told = asked(overlays={"tailscale": None}), []
    with Writer(place.results_of(root, "trial")) as writer:
        writer.write(msgspec.structs.replace(run.header(campaign, root), commit="a" * 40))
    tell = lambda cell, what: told.append(f"{cell}: {what}")  # noqa: E731 -- of two words
    asyncio.run(run.run(campaign, root, jobs=1, tell=tell))
    assert told[0] == (
        "trial: began with commit aaaaaaaaaa; from here on unknown, as each set-up says"
    )


def test_two_processes_do_not_run_one_campaign(root: Path) -> None:
    with (
        Writer(place.results_of(root, "trial")),
        pytest.raises(ResultsError, match="another process"),
    ):
        asyncio.run(run.run(asked(), root, jobs=1, tell=nothing))


def test_an_unsupported_cell_makes_nothing_and_has_its_reason(root: Path) -> None:
    campaign = asked(overlays={"tailscale": None})
    asyncio.run(run.run(campaign, root, jobs=1, tell=nothing))
    path = place.results_of(root, "trial")
    end = list(read(path))[-1]
    assert isinstance(end, CellRecord)
    assert (end.state, end.verdicts) == ("unsupported", {})
    assert "tailnet" in end.reason
    content = path.read_bytes()
    asyncio.run(run.run(campaign, root, jobs=1, tell=nothing))  # nothing is left to do
    assert path.read_bytes() == content
    assert sorted(it.name for it in root.iterdir()) == [".e3", "pyproject.toml"]


def test_the_first_line_has_what_was_asked_for(root: Path) -> None:
    first = run.header(asked(scenarios={"far": {"regions": {"ams3": 1, "sgp1": 1}}}), root)
    assert (first.e3, first.commit) == ("1.2.3", "")
    assert first.scenarios[0].rtt_ms == {"ams3-ams3": 0.5, "ams3-sgp1": 165.0, "sgp1-sgp1": 0.5}


@pytest.mark.parametrize(
    ("fleets", "jobs", "cores", "sentence"),
    [
        ({"lab"}, 2, 2, "this machine has 2 cores"),
        ({"lab"}, 1, 1, None),
        ({"lab"}, 2, 4, None),
        ({"digitalocean"}, 9, 1, None),
    ],
)
def test_cells_side_by_side_need_cores(
    fleets: set[str], jobs: int, cores: int, sentence: str | None
) -> None:
    scenarios = {fleet: {"fleet": fleet, "regions": {"ams3": 2}} for fleet in fleets}
    campaign = asked(scenarios=scenarios)
    if sentence is None:
        run.check_jobs(campaign, jobs, cores)
        return
    with pytest.raises(ConfigurationError, match=sentence):
        run.check_jobs(campaign, jobs, cores)


def test_what_has_finished_does_not_run_again(root: Path) -> None:
    of = asked(repetitions=3)
    (cell,) = of.cells
    known: list[Record] = [
        campaigns.campaign(),
        campaigns.setup(cell=cell.id),
        campaigns.repetition(cell=cell.id, program="hello", repetition=1, order=0),
        campaigns.repetition(
            cell=cell.id, program="hello", repetition=0, order=1, verdict=Verdict.TIMED_OUT
        ),
    ]
    with Writer(root / "results.jsonl") as writer:
        found = campaigns.progress(of, root, writer)
        writer.known += known
        found.take_known()
    assert [work.repetition for work in found.left(cell)] == [2]
    assert (found.order, found.setups[cell.id], found.ended) == (2, 1, set())
    assert found.verdicts[cell.id] == Counter({Verdict.COMPLETED: 1, Verdict.TIMED_OUT: 1})


def test_a_cell_that_cannot_be_deployed_fails_with_its_reason(root: Path) -> None:
    (root / "Pulumi.yaml").write_text(
        "{name: trial, runtime: python, backend: {url: 'file://./gone'}}"
    )
    asyncio.run(run.run(asked(), root, jobs=1, tell=nothing))
    end = list(read(place.results_of(root, "trial")))[-1]
    assert isinstance(end, CellRecord)
    assert end.state == "failed"
    assert "unable to open state directory" in end.reason
    assert not list(root.glob("Pulumi.campaign_*"))


def test_a_dry_run_tells_matrix_time_and_money_and_makes_nothing(root: Path) -> None:
    campaign = asked(overlays={"plain": None, "tailscale": None}, repetitions=10)
    told = list(estimate.lines(campaign, root, jobs=1))
    assert "2 cells, up to 1 programs x 10 repetitions" in told[0]
    assert any("plain/near: 10 repetitions" in line for line in told)
    assert any("tailscale/near: unsupported: tailscale needs a tailnet" in line for line in told)
    assert "about 1 min" in told[-2]  # of one cell, since the other takes nothing
    assert told[-1].startswith("money: none")
    assert not (root / ".e3").exists()
