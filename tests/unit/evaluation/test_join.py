"""One file of several campaigns: of each cell the newest, and which E3 ran it."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from e3.errors import ResultsError
from e3.evaluation import join, results_file
from e3.evaluation.fields import MOST_SOURCES
from e3.evaluation.report import page, study
from e3.evaluation.results import (
    CampaignRecord,
    CellRecord,
    OverlayChoice,
    ProgramChoice,
    Record,
    RepetitionRecord,
    ScenarioChoice,
    SetupRecord,
    Source,
)
from tests.campaigns import STARTED, campaign, cell, overlay, repetition, setup

OLD, NEW = "a" * 40, "b" * 40


def write(path: Path, *records: Record) -> Path:
    chain = results_file.FIRST
    with path.open("wb") as file:
        for record in records:
            line, chain = results_file.link(record, chain)
            file.write(line)
    return path


def ended(name: str, online: float, **of_setup: Any) -> list[Record]:  # noqa: ANN401 -- its fields
    """Return the records of a whole cell."""
    return [
        setup(cell=name, **of_setup),
        *(repetition(cell=name, repetition=n, order=n, online_seconds=online) for n in range(3)),
        cell(cell=name),
    ]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    first = campaign(commit=OLD, schema=2, overlays=[overlay("plain"), overlay("libp2p")])
    whole = [*ended("plain/near", 1.0), *ended("libp2p/near", 2.0)]
    return write(tmp_path / "old.jsonl", first, *whole)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A later campaign: one cell again, one that is new, and one that was interrupted."""
    scenarios = [
        ScenarioChoice(id="near", about="Other words", fleet="lab", regions={"ams3": 2}),
        ScenarioChoice(id="slow", fleet="lab", regions={"ams3": 2}, processors={"ams3-0": 0.5}),
    ]
    first = campaign(
        commit=NEW,
        digest="1" * 64,
        scenarios=scenarios,
        programs=[replace(campaign().programs[0], about="Other words")],
        overlays=[overlay(name) for name in ("plain", "libp2p", "didcomm")],
    )
    made = {"e3": "0.2.0", "commit": NEW}
    whole = [*ended("libp2p/near", 3.0, **made), *ended("didcomm/near", 4.0, **made)]
    return write(tmp_path / "new.jsonl", first, *whole, setup(cell="plain/slow", **made))


def test_each_cell_is_that_of_the_newest_file(old: Path, new: Path, tmp_path: Path) -> None:
    target = tmp_path / "all.jsonl.gz"
    first, second = join.join([old, new], target)
    assert sorted(first.cells) == ["plain/near"]
    assert sorted(second.cells) == ["didcomm/near", "libp2p/near"]
    assert (first.left_out, second.left_out) == ([], ["plain/slow"])
    assert not list(results_file.check(target))
    found = study.load(target)
    assert list(found.cells) == ["plain/near", "libp2p/near", "didcomm/near"]
    assert not found.unfinished
    online = [runs.values("online_seconds").tolist() for runs in found.runs.values()]
    assert online == [[1.0] * 3, [3.0] * 3, [4.0] * 3]
    records = list(results_file.read(target))
    orders = [it.order for it in records if isinstance(it, RepetitionRecord)]
    assert orders == [0, 1, 2, 3, 4, 5, 3, 4, 5]  # those of one file are counted on
    assert sum(isinstance(it, CellRecord) for it in records) == 3


def test_it_says_of_each_cell_which_e3_ran_it(old: Path, new: Path, tmp_path: Path) -> None:
    target = tmp_path / "all.jsonl"
    parts = join.join([old, new], target)
    assert join.told(parts) == {OLD[:10]: 1, NEW[:10]: 2}
    first, *records = results_file.read(target)
    assert isinstance(first, CampaignRecord)
    assert [(it.commit, it.schema, it.cells) for it in first.joined] == [
        (OLD, 2, ["plain/near"]),
        (NEW, 3, ["didcomm/near", "libp2p/near"]),
    ]
    assert first.digest not in {"0" * 64, "1" * 64}  # so no campaign goes on with it
    assert [it.about for it in first.programs] == ["Other words"]
    commits = {it.cell: (it.e3, it.commit) for it in records if isinstance(it, SetupRecord)}
    assert commits == {
        "plain/near": ("0.1.0", OLD),
        "libp2p/near": ("0.2.0", NEW),
        "didcomm/near": ("0.2.0", NEW),
    }


def test_a_campaign_that_went_on_with_another_commit_is_told(old: Path, tmp_path: Path) -> None:
    later = write(
        tmp_path / "later.jsonl",
        campaign(commit=OLD, overlays=[overlay("didcomm"), overlay("tinc")]),
        *ended("didcomm/near", 1.0, e3="0.1.0", commit=OLD),
        *ended("tinc/near", 1.0, e3="0.1.0", commit=NEW),
    )
    parts = join.join([old, later], tmp_path / "all.jsonl")
    assert join.told(parts) == {OLD[:10]: 3, NEW[:10]: 1}
    assert sorted(study.load(tmp_path / "all.jsonl").commits) == [OLD, NEW]


def test_a_report_tells_two_commits_apart(old: Path, new: Path, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="charts need it: scripts/setup --report")
    join.join([old, new], tmp_path / "all.jsonl")
    text = page.render(study.load(tmp_path / "all.jsonl"))
    assert "2 commits" in text
    assert "Joined of several campaigns" in text
    for commit in (OLD, NEW):
        assert f"commit <code>{commit}</code>" in text
    alone = page.render(study.load(old))
    assert "Joined" not in alone
    assert f"commit {OLD[:10]}" in alone


def test_joined_files_are_joined_again(old: Path, new: Path, tmp_path: Path) -> None:
    join.join([old, new], tmp_path / "all.jsonl")
    third = write(
        tmp_path / "third.jsonl",
        campaign(commit="c" * 40, overlays=[overlay("didcomm")]),
        *ended("didcomm/near", 5.0, e3="0.3.0", commit="c" * 40),
    )
    # onto itself: it is replaced once the new one is whole
    join.join([tmp_path / "all.jsonl", third], tmp_path / "all.jsonl")
    (first, *_) = results_file.read(tmp_path / "all.jsonl")
    assert isinstance(first, CampaignRecord)
    assert [(it.commit[0], it.cells) for it in first.joined] == [
        ("a", ["plain/near"]),
        ("b", ["libp2p/near"]),
        ("c", ["didcomm/near"]),
    ]


def test_the_same_files_make_the_same_one(old: Path, new: Path, tmp_path: Path) -> None:
    made = []
    for name in ("one.gz", "two.gz"):
        join.join([old, new], tmp_path / name)
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    assert gzip.decompress(made[0])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"repetitions": 5}, "they have 3 and 5 repetitions; compare"),
        ({"overlays": [overlay("libp2p"), OverlayChoice(
            id="plain", overlay="plain", tls=True)]}, "overlay plain is not the same in both"),
        ({"scenarios": [ScenarioChoice(id="near", fleet="lab", regions={"ams3": 3})]},
         "scenario near is not the same"),
        ({"programs": [ProgramChoice(
            id="rounds", group="rounds", program="x.py", digest="2" * 64)]},
         "program rounds is not the same"),
    ],
)  # fmt: skip
def test_what_differs_is_not_joined(
    old: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    other = write(tmp_path / "b.jsonl", campaign(**changes), *ended("plain/near", 1.0))
    target = tmp_path / "all.jsonl"
    target.write_text("before")
    with pytest.raises(ResultsError, match=told):
        join.join([old, other], target)
    assert target.read_text() == "before"
    assert not list(tmp_path.glob(".all*"))


def test_campaigns_of_which_no_file_could_tell_are_not_joined(old: Path, tmp_path: Path) -> None:
    source = Source(
        schema=3, name="a", digest="0" * 64, started=STARTED, e3="", commit="", cells=["tinc/near"]
    )
    full = write(
        tmp_path / "full.jsonl",
        campaign(overlays=[overlay("tinc")], joined=[source] * MOST_SOURCES),
        *ended("tinc/near", 1.0),
    )
    with pytest.raises(ResultsError, match="101 campaigns are too many"):
        join.join([old, full], tmp_path / "all.jsonl")


def test_damage_and_emptiness_are_named(old: Path, tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.jsonl", campaign(), setup())
    with pytest.raises(ResultsError, match="no cell has ended"):
        join.join([old, empty], tmp_path / "all.jsonl")
    lines = old.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('"online_seconds":1.0', '"online_seconds":0.1')
    old.write_text("".join(lines))
    with pytest.raises(ResultsError, match="changed"):
        join.join([old], tmp_path / "all.jsonl")
    assert not (tmp_path / "all.jsonl").exists()
