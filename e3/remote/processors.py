"""Let a group of processes have little or much of the processors: a cgroup of controller ``cpu``.

Version 2 of cgroups and version 1 both do it. A group is named after the process that made it; what
it left when it was killed, the next one removes. Only root can make one. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NAME = "e3-lab-"
"""The names of our cgroups begin with it; the number of the process that made it follows."""

LEAF = "all"
"""Below a group of version 2, as only a group without processes has others with controllers."""

PROCESSES = "cgroup.procs"
PERIOD_US, LEAST_QUOTA_US = 10_000, 1_000
"""After each period a group may go on; the kernel gives no group less than the second in one."""

MOST_SHARES = {"cpu.weight": "10000", "cpu.shares": "262144"}
"""Of versions 2 and 1 (cgroup-v2.rst; MAX_SHARES of kernel/sched/sched.h)."""

LEAST_SHARE = LEAST_QUOTA_US / 1_000_000
"""The kernel's longest period is a second (sched-bwc.rst)."""


@dataclass(frozen=True)
class Controller:
    """Where this process may make groups; ``unified`` is version 2."""

    folder: Path
    unified: bool

    def make(self, label: str) -> Group:
        """Return a new group without a limit; raise `OSError` where that is not permitted."""
        self._sweep()
        top = self.folder / f"{NAME}{os.getpid()}-{label}"
        top.mkdir(exist_ok=True)
        if not self.unified:
            return Group(top, top)
        with contextlib.suppress(OSError):  # so that a party has a group of its own in here
            (top / "cgroup.subtree_control").write_text("+memory +pids")
        leaf = top / LEAF
        leaf.mkdir(exist_ok=True)
        return Group(top, leaf)

    def _sweep(self) -> None:
        """Remove the groups of processes that have ended; those in use cannot be removed."""
        for old in self.folder.glob(f"{NAME}*"):
            maker = old.name.removeprefix(NAME).partition("-")[0]
            if not Path("/proc", maker).exists():
                Group(old, old / LEAF if self.unified else old).remove()


@dataclass(frozen=True)
class Group:
    """A cgroup: its limit is that of ``top``, its processes are in ``place``."""

    top: Path
    place: Path

    def limit(self, share: float | None) -> None:
        """Let all its processes together have that part of one processor; None: all there are."""
        quota, period = limits(share)
        if (self.top / "cpu.max").exists():
            (self.top / "cpu.max").write_text(f"{'max' if quota < 0 else quota} {period}")
        else:
            (self.top / "cpu.cfs_period_us").write_text(str(period))
            (self.top / "cpu.cfs_quota_us").write_text(str(quota))

    def go_first(self) -> None:
        """Give them the largest share of busy processors that the kernel knows."""
        for name, most in MOST_SHARES.items():
            if (self.top / name).exists():
                (self.top / name).write_text(most)

    def take(self, pids: Iterable[int]) -> None:
        """Move processes into it; one that has just ended is none."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                (self.place / PROCESSES).write_text(str(pid))

    def remove(self) -> None:
        """Remove it, if no process is in it."""
        with contextlib.suppress(OSError):
            self.place.rmdir()
            self.top.rmdir()


def limits(share: float | None) -> tuple[int, int]:
    """Return quota and period in microseconds for a part of one processor; -1 is no quota. Pure.

    The period is short, as a processor that stands still for long would be no slow one.
    """
    if share is None:
        return -1, PERIOD_US
    period = max(PERIOD_US, round(LEAST_QUOTA_US / share))
    return round(share * period), period


def controller(process: Path = Path("/proc/self")) -> Controller | None:
    """Return where groups can be made; None if there are no cgroups with ``cpu`` for this process.

    In version 2 it is the nearest group above this process that lets its children have processors
    apportioned and in which we may move processes, else the root.
    """
    for line in (process / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, mount = before.split()[3:5]
        kind, _, options = after.split(maxsplit=2)
        if kind == "cgroup" and "cpu" in options.split(","):
            return Controller(_own(process, "cpu", Path(mount), root), unified=False)
        if kind == "cgroup2" and _names(Path(mount, "cgroup.controllers"), "cpu"):
            return _unified(_own(process, "", Path(mount), root), Path(mount))
    return None


def entrance(process: Path) -> str:
    """Return the file by which others join the group of ours in which a process is; else empty.

    ``process`` is its folder in /proc.
    """
    with contextlib.suppress(OSError):
        groups = (process / "cgroup").read_text()
        if NAME not in groups or (found := controller()) is None:
            return ""
        for line in groups.splitlines():
            _, names, path = line.split(":", 2)
            if ("cpu" in names.split(",") or not names) and (at := path.find(f"/{NAME}")) >= 0:
                return str(found.folder / path[at + 1 :] / PROCESSES)
    return ""


def _unified(own: Path, mount: Path) -> Controller:
    for folder in (own, *own.parents):
        if _names(folder / "cgroup.subtree_control", "cpu") and os.access(folder, os.W_OK):
            return Controller(folder, unified=True)
        if folder == mount:
            break
    with contextlib.suppress(OSError):  # then making a group fails, and says why
        (mount / "cgroup.subtree_control").write_text("+cpu")
    return Controller(mount, unified=True)


def _own(process: Path, controller_name: str, mount: Path, root: str) -> Path:
    """Return the folder of the group in which a process is, below a mount of that root."""
    for line in (process / "cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller_name in names.split(","):
            return mount / path.removeprefix(root.rstrip("/")).lstrip("/")
    return mount


def _names(file: Path, name: str) -> bool:
    try:
        return name in file.read_text().split()
    except OSError:
        return False
