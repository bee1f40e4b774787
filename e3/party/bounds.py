"""Bounds on what all processes of a party take together, however many they are.

Where the kernel permits it, a cgroup (version 2) of the party's own enforces them: when its memory
is used up, all its processes are killed. Elsewhere the runner measures the processes twice a
second; a program may exceed that bound, but not by much. `Bounds.note` says which one applies.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from e3.party.protocol import Spec
from e3.remote.processes import descendants

MOUNT = Path("/sys/fs/cgroup")
NEEDED = frozenset({"memory", "pids"})
NAME = "e3-"
"""The names of our cgroups begin with it."""

LOOK_SECONDS = 0.5
PAUSES = 20
LONGEST_PAUSE_SECONDS = 4.0
STALE_SECONDS = 60
REMOVE_SECONDS = 1.0


class Bounds:
    """The bounds of one party, made by its runner before the program's process is."""

    def __init__(self, spec: Spec) -> None:
        """Make a cgroup for the party, if the host permits it."""
        self._most_bytes = spec.memory_bytes
        self._next = 0.0
        self._group: Path | None = None
        self.note = ""
        """Why the kernel does not count the party's processes together; empty where it does."""
        try:
            self._group = make(spec)
        except (OSError, LookupError) as error:
            what = (error.strerror if isinstance(error, OSError) else "") or str(error)
            self.note = f"the runner weighs its processes, since the kernel does not ({what})"

    def enter(self) -> None:
        """Put this process, the program's, and its later children under the bounds."""
        if self._group is not None:
            with suppress(OSError):  # then the runner finds the cgroup empty
                (self._group / "cgroup.procs").write_text("0")

    def broken(self) -> bool:
        """Return whether the party takes too much memory; measure each `LOOK_SECONDS` at most.

        Where many parties share a machine, it takes a twentieth of the time, unless that made the
        pauses longer than `LONGEST_PAUSE_SECONDS`: a program can make itself slow to measure.
        """
        if (now := time.monotonic()) < self._next:
            return False
        self._next = now + LOOK_SECONDS
        if self._group is not None and (self._group / "cgroup.procs").read_text():
            return False
        broken = weigh(descendants(os.getpid()), self._most_bytes) > self._most_bytes
        done = time.monotonic()
        pause = min(PAUSES * (done - now), LONGEST_PAUSE_SECONDS)
        self._next = max(self._next, done + pause)
        return broken

    def close(self) -> bool:
        """Remove the cgroup of a party that has ended; return whether the kernel killed it."""
        if self._group is None:
            return False
        events = dict(map(str.split, (self._group / "memory.events").read_text().splitlines()))
        remove(self._group)
        self._group = None
        return int(events["oom_kill"]) > 0


def make(spec: Spec) -> Path:
    """Return a new cgroup with a party's bounds.

    Raises `OSError` or `LookupError` where the host does not permit it.
    """
    parent = parent_for_ours()
    for old in stale(parent):
        with suppress(OSError):  # it is in use
            old.rmdir()
    group = parent / f"{NAME}{spec.session}-{spec.pid}"
    group.mkdir()
    try:
        (group / "memory.max").write_text(str(spec.memory_bytes))
        (group / "memory.oom.group").write_text("1")
        (group / "pids.max").write_text(str(spec.processes))
        with suppress(FileNotFoundError):  # a kernel without swap
            (group / "memory.swap.max").write_text("0")
    except OSError:
        group.rmdir()
        raise
    return group


def parent_for_ours() -> Path:
    """Return the cgroup below which a new one counts memory and processes.

    It is the nearest one above this process that has both controllers enabled for its children and
    in which we may move processes. If there is none, the controllers are enabled in the root, the
    only cgroup that may have both children with controllers and processes.
    """
    if not (MOUNT / "cgroup.controllers").exists():
        raise LookupError(f"no cgroups of version 2 at {MOUNT}")
    if not handed_on(MOUNT, "cgroup.controllers"):
        raise LookupError("its cgroups of version 2 count no memory")
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = MOUNT / next(line for line in lines if line.startswith("0::"))[len("0::/") :]
    for folder in (own, *own.parents):
        if handed_on(folder, "cgroup.subtree_control") and movable(folder):
            return folder
        if folder == MOUNT:
            break
    (MOUNT / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(NEEDED)))
    return MOUNT


def handed_on(folder: Path, file: str) -> bool:
    """Return whether a file of a cgroup names all controllers that we need."""
    try:
        return set((folder / file).read_text().split()) >= NEEDED
    except FileNotFoundError:  # out of sight, for a process in a namespace of cgroups
        return False


def movable(folder: Path) -> bool:
    """Return whether we may make cgroups there, and move processes into them."""
    return os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)


def stale(parent: Path) -> Iterator[Path]:
    """Yield old cgroups: in use, or left by runners that were killed."""
    for folder in parent.glob(f"{NAME}*"):
        with suppress(FileNotFoundError):
            if folder.stat().st_ctime < time.time() - STALE_SECONDS:
                yield folder


def remove(group: Path) -> None:
    """Remove a cgroup whose last processes are ending; a later session tries again."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while group.exists() and time.monotonic() < deadline:
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.01)  # the kernel sends no event when it is free


def weigh(pids: Iterable[int], enough_bytes: int) -> int:
    """Return the private memory of processes, in bytes.

    First, shared pages count for each process, which is quick to read. Only if that is more than
    ``enough_bytes``, each page is divided among the processes that share it.
    """
    pids = list(pids)
    files = memory_files(pids)
    most = weight(pids, "status", ("RssAnon:", "RssShmem:"), files)
    if most <= enough_bytes:
        return most
    # each page that n processes share counts as an n-th
    return weight(pids, "smaps_rollup", ("Pss_Anon:", "Pss_Shmem:"), files)


def weight(pids: list[int], file: str, names: tuple[str, str], files_bytes: int) -> int:
    """Return the sum of anonymous and of shared memory of processes.

    Shared memory includes mapped files in memory, which must not count twice.
    """
    held = [read_kb(Path(f"/proc/{pid}", file), names) for pid in pids]
    return sum(own for own, _ in held) + max(sum(shared for _, shared in held), files_bytes)


def memory_files(pids: Iterable[int]) -> int:
    """Return the bytes in files that exist in memory alone (memfd_create(2)), each counted once."""
    found: dict[tuple[int, int], int] = {}
    for pid in pids:
        with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as descriptors:
            for descriptor in descriptors:
                # of the fastest kind: a party among hundreds has as many connections
                if os.readlink(descriptor.path).startswith("/memfd:"):  # noqa: PTH115
                    info = descriptor.stat()
                    found[info.st_dev, info.st_ino] = info.st_blocks * 512
    return sum(found.values())


def read_kb(path: Path, names: tuple[str, str]) -> tuple[int, int]:
    """Return two lines ``name: value kB`` in bytes; 0 for a line that cannot be read."""
    found = dict.fromkeys(names, 0)
    with suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(names):
                name, value = line.split()[:2]
                found[name] = int(value) * 1024
    return found[names[0]], found[names[1]]
