"""Results as a table for other programs: one row a repetition, with units in the columns' names.

Rows are written as they are read, so that memory does not grow with the file. Text of results is
foreign: in CSV, a text that a spreadsheet would take for a formula has an apostrophe before it.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from types import ModuleType

from e3.errors import PlatformError, ResultsError
from e3.evaluation import results_file
from e3.evaluation.aside import aside
from e3.evaluation.report.study import COLUMNS, row
from e3.evaluation.results import CampaignRecord, RepetitionRecord

ROWS_AT_ONCE = 2_000
FORMULA = ("=", "+", "-", "@", "\t", "\r")

Value = str | float | int | None

TEXTS = (
    "campaign",
    "overlay",
    "scenario",
    "program",
    "group",
    "level",
    "started",
    "session",
    "verdict",
    "reason",
    "disturbances",
)
COUNTS = ("repetition", "setup", "parties")
NUMBERS = (*COLUMNS, "load_1m")


def rows(path: Path) -> Iterator[Mapping[str, Value]]:
    """Yield a row for each repetition of a file; raise `ResultsError` if something is wrong."""
    campaign: CampaignRecord | None = None
    for record in results_file.records(path):
        if isinstance(record, CampaignRecord):
            campaign = record
            groups = {program.id: (program.group, program.level) for program in record.programs}
        elif isinstance(record, RepetitionRecord) and campaign is not None:
            overlay, _, scenario = record.cell.partition("/")
            group, level = groups[record.program]
            yield {
                "campaign": campaign.name,
                "overlay": overlay,
                "scenario": scenario,
                "program": record.program,
                "group": group,
                "level": level,
                "started": record.started,
                "session": record.session,
                "verdict": record.verdict.value,
                "reason": record.reason,
                "disturbances": " ".join(sorted({each.kind for each in record.disturbances})),
                "repetition": record.repetition,
                "setup": record.setup,
                "parties": len(record.parties),
                "load_1m": record.load_1m,
                **row(record),
            }
    if campaign is None:
        raise ResultsError(f"{path}: has no whole line yet: nothing was measured")


def to_parquet(source: Path, target: Path) -> int:
    """Write a Parquet file, and return its number of rows; raise `E3Error`.

    An older file of that name stays if anything fails.
    """
    arrow, parquet = _arrow()
    schema = arrow.schema(
        [
            *((name, arrow.string()) for name in TEXTS),
            *((name, arrow.int64()) for name in COUNTS),
            *((name, arrow.float64()) for name in NUMBERS),
        ]
    )
    with aside(target) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:

        def take(some: Sequence[Mapping[str, Value]]) -> None:
            writer.write_batch(arrow.RecordBatch.from_pylist(some, schema=schema))

        return _pour(source, take)


def to_csv(source: Path, target: Path) -> int:
    """Write a CSV file (RFC 4180), and return its number of rows; raise `E3Error`."""
    with aside(target) as binary, TextIOWrapper(binary, encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*TEXTS, *COUNTS, *NUMBERS])
        writer.writeheader()
        return _pour(source, lambda some: writer.writerows(map(_harmless, some)))


def _pour(source: Path, sink: Callable[[Sequence[Mapping[str, Value]]], None]) -> int:
    number, reader = 0, rows(source)
    while some := list(islice(reader, ROWS_AT_ONCE)):
        sink(some)
        number += len(some)
    return number


def _harmless(one: Mapping[str, Value]) -> Mapping[str, Value]:
    return {
        name: f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
        for name, value in one.items()
    }


def _arrow() -> tuple[ModuleType, ModuleType]:
    """Return pyarrow and its Parquet, which is large and only needed here."""
    try:
        import pyarrow as pa  # noqa: PLC0415 -- optional
        from pyarrow import parquet  # noqa: PLC0415 -- the same
    except ModuleNotFoundError:
        raise PlatformError(
            "--parquet needs the Python package pyarrow; type `scripts/setup --report`, "
            "or take --csv"
        ) from None
    return pa, parquet
