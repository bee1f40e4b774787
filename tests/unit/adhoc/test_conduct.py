"""What only one party has goes to its own room, and to nobody else's."""

from pathlib import Path

import pytest

from e3.adhoc.conduct import inputs_of
from e3.session.inputs import read

pytestmark = pytest.mark.unit


def names(folder: Path | None) -> list[str]:
    return [each.path for each in read(folder, ["bob-1"], 1_000_000)["bob-1"]]


def test_a_file_is_the_input_of_the_party(tmp_path: Path) -> None:
    (tmp_path / "bids.csv").write_text("310\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert names(inputs_of(scratch, tmp_path / "bids.csv", "bob-1")) == ["sent/bids.csv"]


def test_the_files_of_a_folder_are_inputs_of_the_party(tmp_path: Path) -> None:
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "deep" / "x").write_text("1")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert names(inputs_of(scratch, tmp_path / "mine", "bob-1")) == ["sent/deep/x"]


def test_a_party_may_have_none(tmp_path: Path) -> None:
    assert inputs_of(tmp_path, None, "bob-1") is None
