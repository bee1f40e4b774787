"""Pulumi dynamic providers: thin, one a file.

Pulumi's state refers to a provider by module and class name, so a file here is never renamed
(pulumi 3.272, ``dynamic/dynamic.py``: the provider is pickled by reference).

The process that runs them (pulumi 3.272, ``dynamic/__main__.py``) answers an exception with
``traceback.format_exc()``, ignores the engine's Cancel, and outlives an engine that was killed.
This module corrects all three: any error is a sentence for a person (`e3.mishaps`), and both
Ctrl-C and the end of the engine stop what `run` runs.
"""

import asyncio
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from e3 import mishaps
from e3.errors import E3Error
from e3.remote.processes import allow_many_files
from e3.remote.text import printable_lines

Result = TypeVar("Result")

LAST_SECONDS = 15.0
"""How long what `run` runs may take to end once the engine is gone."""

_running: set[Callable[[], object]] = set()
_lock = threading.Lock()
_cancelled = threading.Event()
_format_exc = traceback.format_exc


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run ``work`` to its end; a cancelled `pulumi up` cancels it and raises `E3Error`."""

    async def supervised() -> Result:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is that in which this runs
        loop = asyncio.get_running_loop()

        def stop() -> None:
            loop.call_soon_threadsafe(task.cancel)

        with _lock:
            _running.add(stop)
        if _cancelled.is_set():
            task.cancel()
        try:
            return await work
        finally:
            with _lock:
                _running.discard(stop)

    allow_many_files()
    try:
        return asyncio.run(supervised())
    except asyncio.CancelledError:
        raise E3Error("cancelled; `pulumi up` again goes on from here") from None


def cancel() -> None:
    """Cancel everything that `run` runs."""
    _cancelled.set()
    with _lock:
        for stop in _running:
            stop()


def tell(text: str) -> None:
    """Show a line at once: the engine shows what a provider writes to standard error."""
    sys.stderr.write(f"{printable_lines(text)}\n")
    sys.stderr.flush()


def _plainly(limit: int | None = None, chain: bool = True) -> str:  # noqa: FBT001, FBT002 - as upstream
    error = sys.exc_info()[1]
    return _format_exc(limit, chain) if error is None else mishaps.told(error)


def _cancel_call(self: object, request: object, context: object) -> object:
    """Replace the body of the provider process's Cancel; it runs with that module's globals."""
    from google.protobuf import empty_pb2  # noqa: PLC0415

    from e3.providers import cancel  # noqa: PLC0415

    del self, request, context
    cancel()
    return empty_pb2.Empty()


def _outlive_no_engine() -> None:
    """End this process once the engine is gone, the only reader of our standard output."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # a pipe without a reader is an error, always reported
    poll.poll()
    cancel()
    deadline = time.monotonic() + LAST_SECONDS
    while _running and time.monotonic() < deadline:
        time.sleep(0.05)
    os._exit(1)


traceback.format_exc = _plainly
_servicer = getattr(sys.modules["__main__"], "DynamicResourceProviderServicer", None)
if _servicer is not None:
    # The gRPC server holds the method object, so only the method's code can be replaced.
    _servicer.Cancel.__code__ = _cancel_call.__code__
    threading.Thread(target=_outlive_no_engine, daemon=True).start()
