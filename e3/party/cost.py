"""What reading one large pickle may cost, and who is named if it costs the process its life.

Most of what a pickle can do is bounded by what it may name. What is left grows with its length:
members of a set that all have the same hash, or containers that take two hundred times the byte
that makes them. A large pickle is read under bounds of its own, which end the process where Python
cannot; the runner was told before from whom it is.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

MEMORY_FACTOR = 64
"""Bytes that a byte of a pickle may take; lists of small integers take a dozen."""

SPARE_BYTES = 64_000_000

SPARE_SECONDS = 10.0
SECONDS_PER_BYTE = 2e-6
"""Ten times what a Raspberry Pi needs for an array of integers."""


class Report(Protocol):
    """Tells the runner what happens, see `e3.party.protocol`."""

    def __call__(self, kind: str, **fields: object) -> None:
        """Report one event."""


@contextmanager
def bounded(
    report: Report,
    data: bytes,
    *,
    spare_seconds: float = SPARE_SECONDS,
    spare_bytes: int = SPARE_BYTES,
) -> Iterator[None]:
    """Read a pickle meanwhile, of a peer that its type names; memory and time are bounded.

    What takes more memory raises `MemoryError`; what takes more time of the processor is killed
    by SIGVTALRM.
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
    """Have this process take so much memory more, at most."""
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    soft, hard = limits
    try:
        with Path("/proc/self/statm").open("rb", buffering=0) as file:
            pages = int(file.read(4096).split()[5])
    except OSError:  # there is no /proc: the party's own bound is left
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
    """Have this process be killed once it has computed for so long; not if it has such a timer."""
    if signal.getsignal(signal.SIGVTALRM) is not signal.SIG_DFL:
        yield
        return
    before = signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, *before)
