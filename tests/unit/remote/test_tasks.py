"""What starts beside a block has ended when the block is left, however it is left."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from e3.remote.tasks import beside, each_to_its_end, gather_or_cancel, in_thread, running, whole
from tests.stack import ROOT


class Diary:
    """What happened, in order; `slowly` is work that takes a few turns of the loop."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.begun = asyncio.Event()

    async def slowly(self, name: str, *, forever: bool = False) -> str:
        self.lines.append(f"{name} begins")
        self.begun.set()
        try:
            for _ in range(5):
                await asyncio.sleep(0)
            if forever:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # some do not end at once
            self.lines.append(f"{name} is cancelled")
            raise
        self.lines.append(f"{name} ends")
        return name

    async def fail(self) -> str:
        await self.begun.wait()
        self.lines.append("one fails")
        raise ValueError("one fails")


async def leave_by_error(diary: Diary) -> None:
    with pytest.raises(ValueError, match="one fails"):
        await gather_or_cancel([diary.slowly("other", forever=True), diary.fail()])


async def leave_a_block_by_error(diary: Diary) -> None:
    with pytest.raises(ValueError, match="one fails"):
        async with beside(diary.slowly("other", forever=True)):
            await diary.fail()


async def leave_a_block_early(diary: Diary) -> None:
    async with running([diary.slowly("other", forever=True)]) as [task]:
        await diary.begun.wait()
    assert task.cancelled()


async def be_cancelled_twice(diary: Diary) -> None:
    async def block() -> None:
        async with beside(diary.slowly("other", forever=True)):
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await diary.begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "leave", [leave_by_error, leave_a_block_by_error, leave_a_block_early, be_cancelled_twice]
)
def test_what_runs_beside_has_ended_then(
    leave: Callable[[Diary], Coroutine[Any, Any, None]],
) -> None:
    async def scenario() -> None:
        diary = Diary()
        await leave(diary)
        assert diary.lines[-1] == "other is cancelled"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_an_error_beside_a_block_is_not_lost() -> None:
    async def scenario() -> None:
        diary = Diary()
        diary.begun.set()
        async with beside(diary.fail()) as task:
            await asyncio.wait([task])

    with pytest.raises(ValueError, match="one fails"):
        asyncio.run(scenario())


def test_each_comes_to_its_end_before_the_first_error_is_raised() -> None:
    async def scenario() -> None:
        diary = Diary()
        with pytest.raises(ValueError, match="one fails"):
            await each_to_its_end([diary.fail(), diary.slowly("a"), diary.slowly("b")])
        assert diary.lines[-2:] == ["a ends", "b ends"]
        assert await each_to_its_end([diary.slowly("a"), diary.slowly("b")]) == ["a", "b"]
        assert await each_to_its_end(list[Coroutine[Any, Any, None]]()) == []

    asyncio.run(scenario())


def test_what_is_whole_is_undone_by_who_is_cancelled() -> None:
    async def scenario() -> None:
        diary = Diary()

        async def undo(made: str) -> None:
            diary.lines.append(f"{made} is undone")

        assert await whole(diary.slowly("first"), undo) == "first"
        diary.begun.clear()
        task = asyncio.create_task(whole(diary.slowly("second"), undo))
        await diary.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert diary.lines[-2:] == ["second ends", "second is undone"]
        diary.begun.clear()
        task = asyncio.create_task(whole(diary.slowly("third", forever=True), undo, seconds=0))
        await diary.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert diary.lines[-1] == "third is cancelled"

    asyncio.run(scenario())


def test_no_thread_goes_on_behind_who_is_cancelled() -> None:
    async def scenario() -> None:
        begun, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()
        lines: list[str] = []

        def work(word: str) -> None:
            loop.call_soon_threadsafe(begun.set)
            assert go_on.wait(60)
            lines.append(word)

        task = asyncio.create_task(in_thread(work, "written"))
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert lines == ["written"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "text",
    [
        "import asyncio\nasyncio.gather()\n",
        "import asyncio as a\na.gather()\n",
        "from asyncio import gather\n",
        "import asyncio\nasyncio.create_task(x())\n",
        "import asyncio\nasyncio.ensure_future(x())\n",
        "import asyncio\nasyncio.shield(x())\n",
        "import asyncio\nasyncio.to_thread(x)\n",
        "import asyncio\nasyncio.get_running_loop().create_task(x())\n",
        "import asyncio\nloop = asyncio.get_running_loop()\nloop.create_task(x())\n",
        "import asyncio\nasyncio.get_running_loop().run_in_executor(None, x)\n",
        "import asyncio\ngroup = asyncio.TaskGroup()\ngroup.create_task(x())\n",
    ],
)
def test_scripts_check_refuses_what_begins_tasks_that_no_block_holds(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "e3").mkdir()
    (tmp_path / "e3" / "new.py").write_text(text)
    assert "TID251" in ruff(text) or lint(tmp_path) != ""


def test_scripts_check_accepts_groups_of_tasks(tmp_path: Path) -> None:
    text = "import asyncio\nasync def f(x):\n    async with asyncio.TaskGroup() as group:\n"
    text += "        group.create_task(x())\n"
    (tmp_path / "e3").mkdir()
    (tmp_path / "e3" / "new.py").write_text(text)
    assert "TID251" not in ruff(text)
    assert lint(tmp_path) == ""


def ruff(text: str) -> str:
    command = ["ruff", "check", "--no-cache", "--stdin-filename", "e3/new.py", "-"]
    done = subprocess.run(
        command, cwd=ROOT, input=text, capture_output=True, text=True, check=False
    )
    return done.stdout


def lint(folder: Path) -> str:
    command = [sys.executable, "scripts/lint_tasks.py", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stderr


def test_so_many_run_at_once_and_no_more() -> None:
    now = most = 0

    async def one(number: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(number % 5):
            await asyncio.sleep(0)
        now -= 1
        return number

    async def all_of_them() -> list[int]:
        return await gather_or_cancel((one(i) for i in range(20)), at_once=3)

    assert asyncio.run(all_of_them()) == list(range(20))
    assert most == 3
    assert asyncio.run(gather_or_cancel([], at_once=3)) == []


def test_who_waits_for_a_turn_never_begins_after_an_error() -> None:
    diary = Diary()

    async def scenario() -> None:
        waiting = [diary.slowly("one", forever=True), diary.fail(), diary.slowly("last")]
        with pytest.raises(ValueError, match="one fails"):
            await gather_or_cancel(waiting, at_once=2)

    asyncio.run(scenario())
    assert diary.lines == ["one begins", "one fails", "one is cancelled"]
