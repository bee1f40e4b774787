"""What a session reports of its paths: at its beginning, at its end, and what changed."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from e3.errors import HostError
from e3.paths import PairPath, Paths, Relayed
from e3.session.paths import Look
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict
from tests.sessions import Bench, joined

pytestmark = pytest.mark.unit

TO, FRO = ("local-0", "local-1"), ("local-1", "local-0")
JOINED = [
    PairPath(source=source, target=target, path_class="relayed", by="local-2", rtt_ms=3.0)
    for source, target in (TO, FRO)
]


async def run_once(tmp_path: Path, look: Look) -> SessionResult:
    bench = Bench(tmp_path)
    return await run_session(
        SessionSpec(
            plan=bench.plan(bench.write(joined("print(1)")), parties=2),
            hosts=bench.hosts,
            overlay="plain",
            sessions=bench.sessions,
            deadline_seconds=60,
            paths=JOINED,
            look=look,
        )
    )


def run(tmp_path: Path, look: Look) -> SessionResult:
    return asyncio.run(run_once(tmp_path, look))


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


def test_a_session_that_is_cancelled_after_its_end_keeps_its_verdict(tmp_path: Path) -> None:
    left = iter([{TO: "direct", FRO: "direct"}])
    asked = asyncio.Event()

    async def look() -> Paths:
        known = next(left, None)
        if known is None:
            asked.set()
            await asyncio.Event().wait()
        return cast(Paths, known)

    async def main() -> None:
        session = asyncio.create_task(run_once(tmp_path, look))
        await asked.wait()
        session.cancel()
        with pytest.raises(asyncio.CancelledError):
            await session

    asyncio.run(main())
    (result,) = (tmp_path / "sessions").glob("*-*/result.json")
    assert json.loads(result.read_text())["verdict"] == "completed"
