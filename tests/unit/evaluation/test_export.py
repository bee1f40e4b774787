"""Exports of results: one row a repetition, in Parquet with types and in CSV without formulas."""

import csv
from pathlib import Path

import pytest

from e3.errors import ResultsError
from e3.evaluation import export, results_file
from tests import campaigns, synthetic

pytestmark = pytest.mark.unit

PLAN = synthetic.Plan(scenarios=("near", "nats"), repetitions=3, share_failed=0.2)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("results") / "results.jsonl", PLAN)


def test_parquet_has_a_row_a_repetition_with_types(file: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="scripts/setup --report")
    target = tmp_path / "results.parquet"
    number = export.to_parquet(file, target)
    table = parquet.read_table(target)
    assert table.num_rows == number == len(list(export.rows(file)))
    rows = table.to_pylist()
    assert rows == [dict(one) for one in export.rows(file)]
    lost = next(row for row in rows if row["verdict"] == "unreachable")
    assert lost["online_seconds"] is None
    assert str(table.schema.field("online_seconds").type) == "double"


def test_csv_has_the_same_rows(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "results.csv"
    number = export.to_csv(file, target)
    with target.open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == number
    first = next(iter(export.rows(file)))
    assert rows[0].keys() == first.keys()
    assert float(rows[0]["wall_seconds"]) == first["wall_seconds"]


def test_no_text_becomes_a_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    source, target = tmp_path / "r.jsonl", tmp_path / "r.csv"
    chain = results_file.FIRST
    with source.open("wb") as file:
        for record in (
            campaigns.campaign(),
            campaigns.setup(),
            campaigns.repetition(reason='=HYPERLINK("http://x")', online_seconds=1e-9),
        ):
            line, chain = results_file.link(record, chain)
            file.write(line)
    export.to_csv(source, target)
    with target.open(newline="") as text:
        (row,) = csv.DictReader(text)
    assert row["reason"] == '\'=HYPERLINK("http://x")'
    assert float(row["online_seconds"]) == 1e-9


def test_an_export_that_fails_leaves_the_older_file(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "results.csv"
    target.write_text("older")
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(
        file.read_bytes().replace(b'"verdict":"completed"', b'"verdict":"unreachable"', 1)
    )
    with pytest.raises(ResultsError, match="changed"):
        export.to_csv(broken, target)
    assert target.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_is_not_there_is_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="nowhere"):
        export.to_csv(file, tmp_path / "nowhere" / "results.csv")
