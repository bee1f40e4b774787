"""Files of results: what was written is read again, and each kind of damage is named."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from e3.errors import ResultsError
from e3.evaluation import results
from e3.evaluation.results_file import FIRST, Writer, check, link, read
from e3.session.verdicts import Verdict
from tests.campaigns import CELL, campaign, cell, repetition, setup

SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / "results.json"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "campaign" / "results.jsonl"
    with Writer(path) as writer:
        writer.write(campaign())
        writer.write(setup())
        for number in range(2):
            writer.write(repetition(repetition=number, order=number))
        writer.write(cell())
    return path


def test_what_was_written_is_read_again(path: Path) -> None:
    expected = [campaign(), setup(), repetition(), repetition(repetition=1, order=1), cell()]
    assert list(read(path)) == expected
    assert not list(check(path))


def test_the_schema_file_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA.read_text()) == results.json_schema()


def test_a_line_has_exactly_what_the_schema_names(path: Path) -> None:
    known = results.json_schema()["$defs"]
    names = {
        definition["properties"]["kind"]["enum"][0]: definition
        for definition in (known[record.__name__] for record in results.RECORDS)
    }
    for line in path.read_text().splitlines():
        values = json.loads(line)
        assert set(values) == set(names[values["kind"]]["properties"])


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda content: b"".join(change(content.splitlines(keepends=True)))


@pytest.mark.parametrize(
    ("damage", "number", "fault"),
    [
        (lambda content: content[:-40], 5, "cut"),
        (lambda content: content[:30], 1, "cut"),
        (lines(lambda all_: [*all_[:4], all_[2], all_[4]]), 5, "duplicate"),
        (lines(lambda all_: [*all_, all_[0]]), 6, "duplicate"),
        (lambda content: content.replace(b'"schema":3', b'"schema":0'), 1, "schema"),
        (lambda content: content.replace(b'"schema":3', b'"schema":4'), 1, "schema"),
        (lambda content: content.replace(b'"online_seconds":1.5', b'"online_seconds":1.4', 1), 3,
         "changed"),
        (lines(lambda all_: [*all_[:2], *all_[3:]]), 3, "changed"),
        (lines(lambda all_: [*all_[:2], all_[3], all_[2], all_[4]]), 3, "changed"),
        (lambda content: content.replace(b'"verdict":"completed"', b'"verdict":"fine"', 1), 3,
         "malformed"),
        (lines(lambda all_: [*all_[:2], b"nonsense\n", *all_[2:]]), 3, "malformed"),
        (lines(lambda all_: [*all_[:2], b"[" * 100_000 + b"\n", *all_[2:]]), 3, "malformed"),
        (lambda _: b"", 1, "not-results"),
        (lambda content: b"\n" + content, 1, "not-results"),
        (lambda _: b"\x00\xff" * 50, 1, "not-results"),
        (lambda _: b'{"kind":"setup","schema":1}\n', 1, "not-results"),
    ],
)  # fmt: skip
def test_damage_is_named_with_its_line(
    path: Path, damage: Callable[[bytes], bytes], number: int, fault: str
) -> None:
    path.write_bytes(damage(path.read_bytes()))
    found = list(check(path))
    assert (found[0].line, found[0].fault) == (number, fault)
    with pytest.raises(ResultsError, match=f"line {number}: {fault}: "):
        list(read(path))


def test_only_what_was_damaged_is_named(path: Path) -> None:
    content = path.read_bytes().replace(b'"online_seconds":1.5', b'"online_seconds":1.4', 1)
    first, *_, last = content.splitlines(keepends=True)
    path.write_bytes(content.replace(last, first + last))
    assert [(found.line, found.fault) for found in check(path)] == [
        (3, "changed"),
        (5, "duplicate"),
    ]


@pytest.mark.parametrize(
    "record",
    [
        repetition(cell="nebula/far"),
        repetition(program="nothing"),
        repetition(repetition=9),
        repetition(setup=3),
        cell(cell="nebula/far"),
    ],
)
def test_what_a_campaign_does_not_have_is_misplaced(tmp_path: Path, record: results.Record) -> None:
    path, chain = tmp_path / "results.jsonl", FIRST
    with path.open("wb") as file:
        for one in (campaign(), setup(), record):
            line, chain = link(one, chain)
            file.write(line)
    assert [(found.line, found.fault) for found in check(path)] == [(3, "misplaced")]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda packed: packed, None),
        (lambda packed: packed[:-30], "cut"),
        (lambda packed: packed[:60] + b"x" * 20 + packed[80:], "cut"),
        (lambda _: b"nonsense", "cut"),
        (lambda _: b"", "not-results"),
    ],
)
def test_a_compressed_file_is_read_like_any_other(
    path: Path, damage: Callable[[bytes], bytes], fault: str | None
) -> None:
    packed = path.with_name("results.jsonl.gz")
    packed.write_bytes(damage(gzip.compress(path.read_bytes(), mtime=0)))
    if fault is None:
        assert list(read(packed)) == list(read(path))
    assert [found.fault for found in check(packed)][:1] == ([fault] if fault else [])


def test_a_writer_goes_on_after_one_that_was_killed_in_the_middle_of_a_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])
    with Writer(path) as writer:
        assert writer.known[-1] == repetition(repetition=1, order=1)
        writer.write(cell())
    assert not list(check(path))


def test_a_writer_refuses_a_file_that_was_changed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"order":0', b'"order":7'))
    with pytest.raises(ResultsError, match="line 3: changed"):
        Writer(path)


def test_two_writers_do_not_share_a_file(path: Path) -> None:
    with Writer(path), pytest.raises(ResultsError, match="another process writes"):
        Writer(path)


def test_all_states_and_verdicts_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    ends: list[results.CellRecord] = [
        cell(state="failed", reason="no host answers", verdicts={Verdict.UNREACHABLE: 3}),
        cell(cell="plain/far", state="unsupported", reason="needs an account", verdicts={}),
    ]
    with Writer(path) as writer:
        writer.write(
            campaign(
                scenarios=[
                    *campaign().scenarios,
                    msgspec.structs.replace(campaign().scenarios[0], id="far"),
                ]
            )
        )
        for end in ends:
            writer.write(end)
    assert [one for one in read(path) if isinstance(one, results.CellRecord)] == ends
    assert {end.cell for end in ends} == {CELL, "plain/far"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="No such file"):
        list(read(tmp_path / "none.jsonl"))
