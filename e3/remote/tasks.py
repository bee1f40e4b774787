"""Tasks and threads that end with the block that started them, however it is left.

`asyncio.gather`, `create_task`, `ensure_future`, `shield` and `to_thread` start work that continues
when their caller fails or is cancelled: a host would log in while the others are cleaned up. In E3
only these functions call them (ruff and scripts/lint_tasks.py refuse others), and nothing that they
start outlives them. For plain groups of tasks use `asyncio.TaskGroup`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

Result = TypeVar("Result")


async def gather_or_cancel(
    work: Iterable[Coroutine[Any, Any, Result]], *, at_once: int | None = None
) -> list[Result]:
    """Return what each of ``work`` returns, in order; run so many ``at_once``, by default all.

    The first error cancels all others and is raised once they have ended.
    """
    if at_once is not None:
        return await _in_turn(work, at_once)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
        raise first from first.__cause__
    return [task.result() for task in tasks]


async def _in_turn(work: Iterable[Coroutine[Any, Any, Result]], at_once: int) -> list[Result]:
    waiting = enumerate(work)
    results: dict[int, Result] = {}

    async def take_turns() -> None:
        for number, each in waiting:
            results[number] = await each

    try:
        await gather_or_cancel(take_turns() for _ in range(at_once))
    finally:
        for _, each in waiting:  # after an error: they never begin
            each.close()
    return [results[number] for number in range(len(results))]


async def each_to_its_end(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Return what each of ``work`` returns, in order: for removing things.

    An error of one does not stop the others; the first error is raised when all have ended.
    """
    async with running(work) as tasks:
        if tasks:
            await asyncio.wait(tasks)
        return [task.result() for task in tasks]


@asynccontextmanager
async def running(
    work: Iterable[Coroutine[Any, Any, Result]],
) -> AsyncIterator[Sequence["asyncio.Task[Result]"]]:
    """Run each of ``work`` beside the block; when it is left, cancel them and wait for their end.

    The block may ask for their results and errors. An error that it did not ask for is raised at
    the end of the block.
    """
    tasks = [asyncio.create_task(each) for each in work]  # noqa: TID251 - ended below
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await _ended(*tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, Result]) -> AsyncIterator["asyncio.Task[Result]"]:
    """Run ``work`` beside the block, as `running` does."""
    async with running([work]) as [task]:
        yield task


async def whole(
    work: Coroutine[Any, Any, Result],
    undo: Callable[[Result], Coroutine[Any, Any, object]],
    *,
    seconds: float | None = None,
) -> Result:
    """Return what ``work`` returns. If we are cancelled meanwhile, finish it, then undo it.

    For work that should not be cancelled half-way; after a cancellation it has ``seconds`` to end.
    """
    task = asyncio.create_task(work)  # noqa: TID251 - waited for in any case
    try:
        return await asyncio.shield(task)  # noqa: TID251 - the same
    except asyncio.CancelledError:
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, task.cancel)
        await _ended(task)
        if not task.cancelled() and task.exception() is None:
            await undo(task.result())
        raise


async def in_thread(function: Callable[..., Result], *arguments: object) -> Result:
    """Return what ``function`` returns in a thread of its own.

    A thread cannot be cancelled: if we are cancelled, we wait for its end.
    """
    thread = asyncio.to_thread(function, *arguments)  # noqa: TID251 - waited for in any case
    return await whole(thread, _keep)


async def _keep(_: object) -> None:
    """Undo nothing."""


async def _ended(*tasks: "asyncio.Task[Any]") -> None:
    """Return once these have ended, also if we are cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    while going := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(going)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not log it
    if cancelled is not None:
        raise cancelled
