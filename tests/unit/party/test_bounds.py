"""Bounds of a party's processes together: by the kernel where possible, else by measuring."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e3.party.bounds import LOOK_SECONDS, Bounds, weigh
from e3.party.protocol import Spec
from e3.remote.processes import Family, adopt_orphans

pytestmark = pytest.mark.unit

MB = 1_000_000


def spec(memory_bytes: int) -> Spec:
    return Spec(
        session=f"test-{os.getpid()}",
        pid=1,
        parties=(("127.0.0.1", 1), ("127.0.0.1", 2)),
        entry="",
        args=(),
        memory_bytes=memory_bytes,
    )


def child(act: Callable[[], object]) -> int:
    """Start a process that acts, then waits to be killed."""
    said, saying = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            kept = act()
            os.write(saying, b"x")
            signal.pause()
            del kept
        finally:
            os._exit(1)
    os.close(saying)
    os.read(said, 1)
    os.close(said)
    return pid


@pytest.fixture
def children() -> Iterator[list[int]]:
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_what_is_shared_weighs_once(children: list[int]) -> None:
    kept = b"x" * 60 * MB
    children += [child(lambda: None) for _ in range(4)]
    each = weigh(children, enough_bytes=10_000 * MB)
    assert each > 4 * 60 * MB
    assert weigh(children, enough_bytes=1) < each / 3  # four fifths of one, as this process shares
    del kept


def test_what_is_each_ones_own_adds_up(children: list[int]) -> None:
    children += [child(lambda: b"x" * 30 * MB) for _ in range(3)]
    assert weigh(children, enough_bytes=1) > 3 * 30 * MB
    assert weigh([2**22 + 1], enough_bytes=1) == 0


def test_files_in_memory_weigh_though_nothing_maps_them(children: list[int]) -> None:
    without = [child(lambda: None) for _ in range(3)]
    file = os.memfd_create("test")
    os.write(file, b"x" * 30 * MB)
    holding = [child(lambda: None) for _ in range(3)]
    os.close(file)
    children += [*without, *holding]
    more = weigh(holding, enough_bytes=1) - weigh(without, enough_bytes=1)
    assert 20 * MB < more < 2 * 30 * MB


def many() -> None:
    """Take more memory than one process may, in several processes; wait to be killed."""
    for _ in range(6):
        if os.fork() == 0:
            kept = b"x" * 40 * MB
            signal.pause()
            del kept
    signal.pause()


def runner(bounds: Bounds) -> tuple[bool, bool, int | None]:
    """Act as runner; return whether it or the kernel found too much, and the exit status."""
    adopt_orphans()
    if (pid := os.fork()) == 0:
        try:
            bounds.enter()
            many()
        finally:
            os._exit(1)
    family = Family(pid)
    deadline = time.monotonic() + 60
    while not (broken := bounds.broken()) and family.status is None:
        assert time.monotonic() < deadline
        time.sleep(LOOK_SECONDS / 5)
        family.reap()
    family.kill()
    return broken, bounds.close(), family.status


def test_a_party_that_takes_too_much_is_found() -> None:
    bounds = Bounds(spec(memory_bytes=120 * MB))
    by_runner, by_kernel = (True, False) if bounds.note else (False, True)
    if (pid := os.fork()) == 0:  # it kills all that is below it
        try:
            os._exit(0 if runner(bounds) == (by_runner, by_kernel, -9) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not list(Path("/sys/fs/cgroup").rglob(f"e3-test-{os.getpid()}-1"))
