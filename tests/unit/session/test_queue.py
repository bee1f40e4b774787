"""Sessions of one folder run one after another, and old evidence is removed."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from e3.errors import SessionError
from e3.session import queue
from e3.session.progress import NullObserver, PartyProgress
from e3.session.queue import front_of_queue, holder
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from e3.session.runs import prune, resolve, runs
from e3.session.verdicts import Verdict
from tests.sessions import Bench, joined

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@dataclass
class Diary(NullObserver):
    """An observer that records its calls."""

    waited: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    look: Callable[[], Sequence[PartyProgress]] = tuple

    def waiting(self, session: str) -> None:
        self.waited.append(session)

    def began(
        self, session: str, evidence: Path, look: Callable[[], Sequence[PartyProgress]]
    ) -> None:
        assert evidence.name == session
        self.sessions.append(session)
        self.look = look


class Alone(Diary):
    """Asserts, when its session begins, that no party of the other sessions still runs."""

    def __init__(self, others: list[Diary]) -> None:
        super().__init__()
        self.others = others

    def began(
        self, session: str, evidence: Path, look: Callable[[], Sequence[PartyProgress]]
    ) -> None:
        before = [other for other in self.others if other.sessions]
        assert {party.state for other in before for party in other.look()} <= {"done"}
        super().began(session, evidence, look)


async def session(bench: Bench, path: Path, diary: Diary) -> SessionResult:
    return await run_session(
        SessionSpec(
            plan=bench.plan(path),
            hosts=bench.hosts,
            overlay="plain",
            sessions=bench.sessions,
            deadline_seconds=60,
            observer=diary,
        )
    )


def test_sessions_of_one_folder_never_overlap(bench: Bench) -> None:
    path = bench.write(joined("print(mpc.pid)"))
    diaries: list[Diary] = []
    diaries += [Alone(diaries) for _ in range(3)]

    async def at_once() -> list[SessionResult]:
        return await asyncio.gather(*(session(bench, path, diary) for diary in diaries))

    results = asyncio.run(at_once())
    assert [result.verdict for result in results] == [Verdict.COMPLETED] * 3
    done = runs(bench.sessions)
    assert {run.id for run in done} == {result.id for result in results}
    assert sorted(len(diary.waited) > 0 for diary in diaries) == [False, True, True]
    assert {name for diary in diaries for name in diary.waited} <= {run.id for run in done}
    assert holder(bench.sessions) is None


def test_progress_tells_phase_bytes_and_last_line(bench: Bench) -> None:
    diary = Diary()
    path = bench.write(joined("print('one'); print('two')"))
    asyncio.run(session(bench, path, diary))
    for pid, party in enumerate(diary.look()):
        assert (party.pid, party.host) == (pid, f"local-{pid}")
        assert (party.state, party.phase, party.line) == ("done", "done", "two")
        assert party.sent_bytes is not None
        assert party.sent_bytes > 0
        assert party.seconds > 0


def test_progress_tells_what_was_sent_so_far(bench: Bench) -> None:
    diary = Diary()
    path = bench.write(
        joined("""
            from asyncio import sleep
            for i in range(200):
                await mpc.output(mpc.input(mpc.SecInt()(i), senders=0))
                await sleep(0.03)
        """)
    )

    async def followed() -> list[int]:
        task = asyncio.create_task(session(bench, path, diary))
        seen: set[int] = set()
        while not task.done():
            going = [p for p in diary.look() if p.pid == 0 and p.phase == "computing"]
            seen.update(party.sent_bytes for party in going if party.sent_bytes)
            await asyncio.sleep(0.05)
        return sorted(seen)

    before = asyncio.run(followed())
    after = diary.look()[0].sent_bytes
    assert len(before) >= 2
    assert after is not None
    assert 0 < before[0] < before[-1] < after < 2 * before[-1] + 10_000


def test_progress_of_a_party_that_fails(bench: Bench) -> None:
    diary = Diary()
    asyncio.run(session(bench, bench.write("raise SystemExit(3)"), diary))
    failed = next(party for party in diary.look() if party.state == "failed")
    assert failed.phase == f"party {failed.pid} ({failed.host}) exited with status 3"


def test_a_killed_holder_gives_its_turn_away(bench: Bench) -> None:
    hold = f"""
        import asyncio, pathlib, sys
        sys.path.insert(0, {str(ROOT)!r})
        from e3.session.queue import front_of_queue
        async def main():
            async with front_of_queue(pathlib.Path({str(bench.sessions)!r}), print) as note:
                note("20200101-000000-dead", 600)
                print("held", flush=True)
                await asyncio.sleep(60)
        asyncio.run(main())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(hold)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        who = holder(bench.sessions)
        assert who is not None
        assert (who.session, who.pid) == ("20200101-000000-dead", process.pid)
        os.kill(process.pid, signal.SIGKILL)
    assert holder(bench.sessions) is None
    diary = Diary()
    result = asyncio.run(session(bench, bench.write(joined("print(1)")), diary))
    assert result.verdict is Verdict.COMPLETED
    assert diary.waited == []


def test_a_holder_far_beyond_its_deadline_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with front_of_queue(tmp_path, lambda _: None) as note:
            note("20200101-000000-slow", 0.1)
            async with front_of_queue(tmp_path, lambda _: None, grace_seconds=0.2):
                pytest.fail("two have the turn")

    with pytest.raises(SessionError, match=rf"20200101-000000-slow \(process {os.getpid()}\)"):
        asyncio.run(main())
    assert holder(tmp_path) is None


def test_the_holder_is_read_whatever_it_said_before(tmp_path: Path) -> None:
    async def hold() -> list[str]:
        async with front_of_queue(tmp_path, lambda _: None) as note:
            found = []
            for name in ("x" * 100, "x"):
                note(name, 1.0)
                now = holder(tmp_path)
                found.append(now.session if now else "")
            return found

    assert asyncio.run(hold()) == ["x" * 100, "x"]


def test_a_wait_can_be_cancelled(tmp_path: Path) -> None:
    waits = asyncio.Event()

    async def wait() -> None:
        async with front_of_queue(tmp_path, lambda _: waits.set()):
            pytest.fail("two have the turn")

    async def main() -> None:
        async with front_of_queue(tmp_path, lambda _: None) as note:
            note("20200101-000000-busy", 60)
            task = asyncio.create_task(wait())
            await waits.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with (tmp_path / queue.LOCK).open() as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    asyncio.run(main())


def test_a_run_without_result_was_interrupted(bench: Bench) -> None:
    result = bench.run(joined("print(1)"))
    (bench.sessions / result.id / "result.json").unlink()
    (run,) = runs(bench.sessions)
    assert (run.verdict, run.running, run.hosts[:1]) == ("interrupted", False, ("local-0",))


def test_the_newest_runs_keep_their_evidence(tmp_path: Path) -> None:
    names = [f"20200101-00000{i}-{i:04x}" for i in range(6)]
    for name in (*names, "mine"):
        (tmp_path / name).mkdir()
    prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names[-2:], "mine"]
    assert [run.id for run in resolve(tmp_path, "latest")] == names[-1:]
    assert [run.id for run in resolve(tmp_path, "20200101-000004")] == names[4:5]
    assert [run.id for run in resolve(tmp_path, "0005")] == names[5:]
    assert len(resolve(tmp_path, "2020")) == 2
    assert resolve(tmp_path, "2021") == []
