"""The reports of a program's process: a runner checks and relies on their form only."""

import json
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.party.reports import LINE_BYTES, TEXT_LENGTH, Report, ReportError, Reports

pytestmark = pytest.mark.unit

M, PID = 3, 1

PROPER: list[dict[str, Any]] = [
    {"e3": "confined", "notes": ["no namespaces"]},
    {"e3": "loaded", "version": "0.11"},
    {"e3": "connecting"},
    {"e3": "connected"},
    {"e3": "sent", "total_bytes": 3},
    {"e3": "stranger", "address": "10.0.0.9"},
    {"e3": "impostor", "peer": None, "detail": "claims to be party 0"},
    {"e3": "impostor", "peer": 2, "detail": "claims to be party 0"},
    {"e3": "lost", "peer": 0, "why": "closed by peer"},
    {"e3": "offended", "peer": 2, "what": "posix.system"},
    {"e3": "stopping", "sent_bytes": [0, 1, 2]},
    {"e3": "stopped"},
    {"e3": "failed", "error": "ValueError"},
    {"e3": "raised", "error": "ValueError"},
    {"e3": "cell", "number": 3},
    {"e3": "leaving"},
]

FORGED: list[tuple[bytes, str]] = [
    (b'{"e3":"exited","exit":0,"why":"","seconds":1.0,"written":{},"strays":0,"at":0}', "'exited'"),
    (b'{"e3":"agreed","noted":{},"strangers":{},"at":0}', "'agreed'"),
    (b'{"e3":"disagreed"}', "'disagreed'"),
    (b'{"e3":"ready","python":"3","at":0}', "'ready'"),
    (b'{"e3":"refused","reason":"no","at":0}', "'refused'"),
    (b'{"e3":"bounded","note":"","at":0}', "'bounded'"),
    (b'{"e3":"output","stream":"stdout","text":"x","at":0}', "'output'"),
    (b'{"e3":"alive","at":0}', "'alive'"),
    (b'{"e3":"confined","notes":[],"at":0}', "'confined'"),
    (b'{"e3":"x\\u001b[2J","at":0}', r"'x\x1b[2J'"),
    (b'{"e3":"lost","peer":99,"why":"","at":0}', "peer is '99', not another party's index"),
    (b'{"e3":"lost","peer":-1,"why":"","at":0}', "peer is '-1'"),
    (b'{"e3":"lost","peer":1,"why":"","at":0}', "peer is '1', not another party's index"),
    (b'{"e3":"lost","peer":true,"why":"","at":0}', "peer is 'True'"),
    (b'{"e3":"lost","peer":0.0,"why":"","at":0}', "peer is '0.0'"),
    (b'{"e3":"lost","peer":[],"why":"","at":0}', "peer is a list"),
    (b'{"e3":"lost","at":0}', "'lost' with 'nothing'"),
    (b'{"e3":"lost","peer":0,"more":1,"at":0}', "with 'more, peer'"),
    (b'{"e3":"connected"}', "at 'None'"),
    (b'{"e3":"connected","at":NaN}', "at 'nan'"),
    (b'{"e3":"connected","at":1e999}', "at 'inf'"),
    (b'{"e3":"connected","at":"0"}', "at '0'"),
    (b'{"e3":"connected","at":1' + b"0" * 400 + b"}", "at '1000"),
    (b'{"e3":"connected","at":1' + b"0" * 9000 + b"}", "the line"),
    (b'{"e3":"sent","total_bytes":"abc","at":0}', "not a whole number"),
    (b'{"e3":"sent","total_bytes":-1,"at":0}', "not a whole number"),
    (b'{"e3":"stopping","sent_bytes":["a"],"at":0}', "a number for each party"),
    (b'{"e3":"stopping","sent_bytes":[0,1,"a"],"at":0}', "not a whole number"),
    (b'{"e3":"raised","error":5,"at":0}', "error is '5', not a text"),
    (b'{"e3":["a"],"at":0}', "the line"),
    (b'["e3"]', "the line"),
    (b"[" * 60_000, "the line"),
    (b"\xff\xfe\x00", "the line"),
    (b"", "the line ''"),
    (b"x" * (LINE_BYTES + 1), f"more than {LINE_BYTES} bytes"),
]


def begun() -> Reports:
    """Return what reads a program that has begun."""
    reports = Reports(M, PID)
    assert [report.kind for report in reports.feed(line(PROPER[0]))] == ["confined"]
    return reports


def line(report: dict[str, Any]) -> bytes:
    return json.dumps({**report, "at": 1}).encode() + b"\n"


def test_each_kind_is_passed_on() -> None:
    reports = Reports(M, PID)
    whole = b"".join(map(line, PROPER))
    found = [one for i in range(0, len(whole), 7) for one in reports.feed(whole[i : i + 7])]
    assert [{"e3": report.kind, **report.fields} for report in found] == PROPER
    assert {report.at for report in found} == {1.0}


@pytest.mark.parametrize(("forged", "wrong"), FORGED, ids=range(len(FORGED)))
def test_what_no_program_may_say_is_named(forged: bytes, wrong: str) -> None:
    with pytest.raises(ReportError) as caught:
        list(begun().feed(forged + b"\n"))
    assert wrong in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_a_long_text_is_shortened_and_made_printable() -> None:
    (report,) = begun().feed(line({"e3": "raised", "error": "\x1b[2J\ud800" + "x" * 10_000}))
    error = str(report.fields["error"])
    assert error.startswith(r"\x1b[2J\ud800xxx")
    assert len(error) == TEXT_LENGTH + 3


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
KINDS = st.sampled_from([str(report["e3"]) for report in PROPER] + ["exited", "output", "agreed"])
FIELDS = st.sampled_from(sorted({name for report in PROPER for name in report} - {"e3"}))
MESSAGES = st.builds(
    lambda kind, fields, at: {"e3": kind, **fields, "at": at},
    KINDS | VALUES,
    st.dictionaries(FIELDS, VALUES | st.integers(-1, 3), max_size=3),
    st.floats() | VALUES,
)
CHANGED = st.builds(
    lambda report, fields: {**report, "at": 1, **fields},
    st.sampled_from(PROPER),
    st.dictionaries(FIELDS | st.just("at"), VALUES | st.integers(-1, 3), max_size=1),
)
DAMAGED = st.builds(
    lambda one, at, byte: one[:at] + byte + one[at:],
    st.sampled_from(list(map(line, PROPER))),
    st.integers(0, 60),
    st.binary(max_size=2),
)
LINES = st.one_of(
    (MESSAGES | CHANGED).map(lambda message: json.dumps(message).encode()),
    st.binary(max_size=200),
    DAMAGED,
)


def fed(reports: Reports, pieces: Iterable[bytes]) -> tuple[list[Report], str]:
    """Return what was read, and what was wrong with what came then."""
    found: list[Report] = []
    try:
        for piece in pieces:
            found += reports.feed(piece)
    except ReportError as error:
        return found, str(error)
    return found, ""


@given(st.lists(LINES, max_size=4), st.integers(1, 50))
def test_whatever_comes_is_a_proper_report_or_one_error(lines: list[bytes], size: int) -> None:
    data = b"\n".join(lines) + b"\n"
    pieces = (data[i : i + size] for i in range(0, len(data), size))
    found, wrong = fed(Reports(M, PID), pieces)
    assert wrong.isprintable()
    assert len(wrong) < 300
    for report in found:
        assert report.kind in {proper["e3"] for proper in PROPER}
        assert report.fields.get("peer", 0) in {None, 0, 2}
        assert json.loads(json.dumps(report.fields, allow_nan=False)) == report.fields


def test_a_line_without_an_end_does_not_grow_the_runner() -> None:
    reports = begun()
    tracemalloc.start()
    try:
        _, wrong = fed(reports, (b"z" * LINE_BYTES for _ in range(1000)))
        assert "more than" in wrong
        assert tracemalloc.get_traced_memory()[1] < 10 * LINE_BYTES
    finally:
        tracemalloc.stop()
