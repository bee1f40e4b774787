"""Run sessions on the same hosts one after another, since they use the same ports."""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from e3 import private
from e3.errors import SessionError

LOCK = "run.lock"
"""In the folder of all sessions; the kernel releases it however its holder ends."""

GRACE_SECONDS = 30.0
"""How long a session may take after its deadline to stop its parties and clean up."""

LOOK_SECONDS = 0.1
NOTE_BYTES = 512
"""The length of what the lock's file says, whatever it says."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The session that holds the lock, the process that runs it, and when it must be over.

    ``ends_by`` is a time of the machine's monotonic clock, in seconds.
    """

    session: str
    pid: int
    ends_by: float


@asynccontextmanager
async def front_of_queue(
    sessions: Path, waiting: Callable[[str], None], *, grace_seconds: float = GRACE_SECONDS
) -> AsyncIterator[Callable[[str, float], None]]:
    """Wait until no other session of the folder runs, then hold its lock.

    Yields a function that records the session that holds the lock and the seconds it may take.
    ``waiting`` is called with each session ahead. Raises `SessionError` if the one ahead still
    runs ``grace_seconds`` after its deadline, so the wait has an end.
    """
    lock = _open(sessions)
    try:
        await _take(lock, waiting, grace_seconds)
        os.ftruncate(lock, 0)
        try:
            yield lambda session, seconds: _note(lock, sessions / LOCK, session, seconds)
        finally:
            os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def holder(sessions: Path) -> Holder | None:
    """Return which session holds the lock now; None if none does."""
    try:
        lock = os.open(sessions / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(lock)
    finally:
        os.close(lock)
    return None  # what the file says is about a session that was killed


def _open(sessions: Path) -> int:
    return private.descriptor(private.folder(sessions) / LOCK, os.O_RDWR)


async def _take(lock: int, waiting: Callable[[str], None], grace_seconds: float) -> None:
    ahead: Holder | None = None
    since = time.monotonic()
    while not _try(lock):
        now = _read(lock)
        if now is not None and now != ahead:
            ahead, since = now, max(now.ends_by, time.monotonic())
            waiting(now.session)
        if time.monotonic() > since + grace_seconds:
            who = f"run {ahead.session} (process {ahead.pid})" if ahead else "another run"
            raise SessionError(
                f"{who} still has the hosts, long after its deadline; end that process, "
                "then run again"
            )
        # flock(2) cannot be awaited, and a thread that blocks in it cannot be cancelled
        await asyncio.sleep(LOOK_SECONDS)


def _try(lock: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _note(lock: int, path: Path, session: str, seconds: float) -> None:
    who = Holder(session=session, pid=os.getpid(), ends_by=time.monotonic() + seconds)
    try:
        # spaces cover what a longer note before it has left
        os.pwrite(lock, msgspec.json.encode(who).ljust(NOTE_BYTES), 0)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _read(lock: int) -> Holder | None:
    with contextlib.suppress(msgspec.DecodeError):  # it has just changed
        return msgspec.json.decode(os.pread(lock, NOTE_BYTES, 0), type=Holder)
    return None
