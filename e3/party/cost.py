"""Limits on the cost of reading one large pickle, and a report of its sender.

Most of what a pickle can do is bounded by what it may name. The rest grows with its length: members
of a set that all have the same hash, or containers that take two hundred times the byte that makes
them. So a large pickle is read under limits of its own, which kill the process where Python cannot
stop it. Before that the runner is told who sent it, so that it can name the sender.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

MEMORY_FACTOR = 64
"""Bytes of memory for each byte of a pickle; lists of small integers take a dozen."""

SPARE_BYTES = 64_000_000

SPARE_SECONDS = 10.0
SECONDS_PER_BYTE = 2e-6
"""Ten times what a Raspberry Pi needs for an array of integers."""


class SendReport(Protocol):
    """Reports events to the runner, see `e3.party.protocol`."""

    def __call__(self, kind: str, **fields: object) -> None:
        """Report one event."""


@contextmanager
def bounded(
    report: SendReport,
    data: bytes,
    *,
    spare_seconds: float = SPARE_SECONDS,
    spare_bytes: int = SPARE_BYTES,
) -> Iterator[None]:
    """Bound memory and time while a pickle is read; its type names the peer that sent it.

    Past the memory bound `MemoryError` is raised; past the bound of processor time the process is
    killed by SIGVTALRM.
    """
    report("reading", peer=getattr(type(data), "peer", None))
    try:
        with (
            memory(spare_bytes + MEMORY_FACTOR * len(data)),
            processor(spare_seconds + SECONDS_PER_BYTE * len(data)),
        ):
            yield
    finally:
        report("read")


@contextmanager
def memory(most_bytes: int) -> Iterator[None]:
    """Let this process take at most so much more memory meanwhile."""
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    soft, hard = limits
    try:
        with Path("/proc/self/statm").open("rb", buffering=0) as file:
            pages = int(file.read(4096).split()[5])
    except OSError:  # without /proc only the party's own bound applies
        yield
        return
    most = pages * resource.getpagesize() + most_bytes
    if soft == resource.RLIM_INFINITY or most < soft:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)


@contextmanager
def processor(seconds: float) -> Iterator[None]:
    """Kill this process once it has computed for so long, unless the program uses that timer."""
    if signal.getsignal(signal.SIGVTALRM) is not signal.SIG_DFL:
        yield
        return
    before = signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, *before)
