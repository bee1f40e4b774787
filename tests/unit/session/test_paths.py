"""What a session says of its paths: as it began, after it, and what is not as it was."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.errors import HostError
from e3.interfaces import Path as NetworkPath
from e3.interfaces import Paths, Relayed
from e3.session.conduct import conduct
from e3.session.paths import Look
from e3.session.results import SessionResult
from e3.session.verdicts import Verdict
from tests.sessions import Bench, joined

pytestmark = pytest.mark.unit

TO, FRO = ("local-0", "local-1"), ("local-1", "local-0")
JOINED = [
    NetworkPath(source=source, target=target, path_class="relayed", by="local-2", rtt_ms=3.0)
    for source, target in (TO, FRO)
]


def run(tmp_path: Path, look: Look, body: str = "print(1)") -> SessionResult:
    bench = Bench(tmp_path)
    made = bench.plan(bench.write(joined(body)), parties=2)
    return asyncio.run(
        conduct(
            made,
            bench.hosts,
            overlay="plain",
            sessions=bench.sessions,
            deadline_seconds=60,
            paths=JOINED,
            look=look,
        )
    )


def answers(*each: Paths) -> Look:
    """Return an overlay's answers, one for each time that it is asked."""
    left: Iterator[Paths] = iter(each)

    async def look() -> Paths:
        return next(left)

    return look


def test_a_path_that_changed_is_noted_and_is_in_the_evidence(tmp_path: Path) -> None:
    begin: Paths = {TO: "direct", FRO: "direct"}
    end: Paths = {TO: Relayed(by="local-2"), FRO: "direct"}
    result = run(tmp_path, answers(begin, end))
    assert result.verdict is Verdict.COMPLETED
    note = (
        "the path from local-0 to local-1 was direct as the session began, "
        "and relayed by local-2 after it"
    )
    assert result.notes == (note,)
    evidence = json.loads((tmp_path / "sessions" / result.id / "result.json").read_text())
    assert evidence["notes"] == [note]
    assert evidence["paths"] == [
        {
            "from": "local-0",
            "to": "local-1",
            "class": "direct",
            "rtt_ms": 3.0,
            "class_after": "relayed",
            "by_after": "local-2",
        },
        {
            "from": "local-1",
            "to": "local-0",
            "class": "direct",
            "rtt_ms": 3.0,
            "class_after": "direct",
        },
    ]


def test_paths_that_stay_are_not_worth_a_word(tmp_path: Path) -> None:
    same: Paths = {TO: "direct", FRO: Relayed(by="local-2")}
    assert run(tmp_path, answers(same, same)).notes == ()


def test_a_session_does_not_fail_because_paths_cannot_be_read(tmp_path: Path) -> None:
    async def look() -> Paths:
        raise HostError("host local-1 is gone")

    result = run(tmp_path, look)
    assert result.verdict is Verdict.COMPLETED
    assert result.notes == ("the overlay did not tell its paths: host local-1 is gone",)
    assert (result.paths, result.paths_after) == (tuple(JOINED), ())
