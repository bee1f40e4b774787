"""A child process and all its descendants: found, killed and reaped together."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from e3.remote import linux


def allow_many_files() -> None:
    """Let this process open as many files as it may: an attached host takes three.

    Where there are no such limits, nothing is to be done.
    """
    try:
        import resource  # noqa: PLC0415 - Windows has no such module
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems permit less than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def adopt_orphans() -> None:
    """Make every orphan below this process, daemons included, its child."""
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)


class Family:
    """A child process and its descendants."""

    def __init__(self, pid: int, user: int = 0) -> None:
        """Watch ``pid``, which this process has forked; ``user`` is a user of its own, or 0."""
        self.pid = pid
        self._user = user
        self.status: int | None = None
        """The child's exit status, negative for a signal; None while it runs."""

    def reap(self) -> bool:
        """Reap every child that has ended, adopted ones too; return whether others are left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)

    def kill(self, *, timeout_seconds: float = 2.0) -> int:
        """Kill all that is left of the family; return how many processes outlived the child.

        Killing a parent makes its children ours, so this repeats until there are none. If the
        family has a user of its own, no process escapes by forking faster than we look.
        """
        # blocked, so that no end between two checks is missed
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        deadline = time.monotonic() + timeout_seconds
        strays: set[int] = set()
        left = self.reap()
        outlived = self.status is not None
        while left and time.monotonic() < deadline:
            found = {self.pid, *descendants(os.getpid())}
            strays |= found - {self.pid}
            if self._user:
                kill_all_of(self._user)
            for pid in found if self.status is None else found - {self.pid}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, 0.05)
            left = self.reap()
        return len(strays) if outlived else 0


def kill_all_of(user: int) -> None:
    """Kill all processes of a user at once, if we may become that user; never those of root."""
    if (child := os.fork()) == 0:
        with contextlib.suppress(OSError):
            os.setresuid(user, user, user)
            if os.getuid() == user != 0:
                os.kill(-1, signal.SIGKILL)  # this one, too
        os._exit(0)
    os.waitpid(child, 0)


def descendants(pid: int) -> list[int]:
    """Return the processes below ``pid``, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found
