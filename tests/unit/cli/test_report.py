"""`e3 report` and `e3 results export`, as people start them."""

from pathlib import Path

import pytest

from e3.evaluation.results_file import FIRST, link
from tests import campaigns, synthetic
from tests.commands import ROOT, Command

pytest.importorskip("vl_convert", reason="charts need it: scripts/setup --report")

PLAN = synthetic.Plan(scenarios=("near",), programs=("rounds",), repetitions=2)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("campaign")
    synthetic.write(folder / "results.jsonl", PLAN)
    return folder


@pytest.fixture
def e3() -> Command:
    return Command(folder=ROOT)


def test_a_report_goes_beside_its_results(e3: Command, campaign: Path) -> None:
    made = e3("report", str(campaign))
    assert made.returncode == 0, made.stderr
    assert (campaign / "report.html").stat().st_mode & 0o077 == 0
    assert str(campaign / "report.html") in made.stdout


def test_a_comparison_is_named_after_the_other(e3: Command, campaign: Path) -> None:
    synthetic.write(campaign / "other.jsonl", PLAN)
    made = e3("report", "results.jsonl", "other.jsonl", cwd=campaign)
    assert made.returncode == 0, made.stderr
    assert (campaign / "beside-other.html").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["report", "nowhere"], "no file and no campaign is named nowhere"),
        (["report", "a", "b", "c"], "name one, or two to compare"),
        (["results", "export", "nowhere", "--csv", "x.csv"], "is named nowhere"),
        (["report", "results.jsonl", "-o", "nowhere/report.html"], "there is no folder"),
    ],
)
def test_what_cannot_be_is_named(e3: Command, campaign: Path, words: list[str], told: str) -> None:
    made = e3(*words, cwd=campaign)
    assert made.returncode == 2
    assert told in made.stderr
    assert "Traceback" not in made.stderr


def test_an_export_says_its_rows(e3: Command, campaign: Path) -> None:
    made = e3("results", "export", "results.jsonl", "--csv", "rows.csv", cwd=campaign)
    assert made.returncode == 0, made.stderr
    assert "14 rows" in made.stdout
    assert len((campaign / "rows.csv").read_text().splitlines()) == 15


def test_a_check_tells_the_schema_of_the_file(e3: Command, tmp_path: Path) -> None:
    line, _ = link(campaigns.campaign(schema=1), FIRST)
    (tmp_path / "old.jsonl").write_bytes(line)
    checked = e3("results", "check", "old.jsonl", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout == "old.jsonl: whole, of schema 1\n"


def test_campaigns_are_joined_and_each_says_how_many_cells(e3: Command, campaign: Path) -> None:
    later = synthetic.write(campaign / "later.jsonl", PLAN)
    made = e3("results", "join", "results.jsonl", later.name, "-o", "all.jsonl.gz", cwd=campaign)
    assert made.returncode == 0, made.stderr
    assert f"{campaign / 'results.jsonl'}: 0 cells\n{later}: 7 cells\n" in made.stdout
    assert made.stdout.endswith("all.jsonl.gz; cells: 7 of commit 0000000000\n")
    assert "whole, of schema 3" in e3("results", "check", "all.jsonl.gz", cwd=campaign).stdout
