"""Pulumi's own files of the local backend: read even where Pulumi itself does not work.

Stacks are JSON files, and a running update holds a lock file that names its process (pulumi
3.259, ``pkg/backend/diy``). Pulumi writes each aside and renames it; on a full disk an empty one
remains nevertheless, and Pulumi takes every file in the folder of locks for a lock.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from e3 import private, pulumi_state
from e3.access.identity import identify
from e3.cli.place import ROOT
from e3.deployed import FILES
from e3.pulumi_state import OURS, Resource, UnreadableError, checkpoints, read, stack_of

STORE = FILES / pulumi_state.STORE
META = STORE / "meta.yaml"
STACKS = FILES / pulumi_state.STACKS
LOCKS = STORE / "locks/organization/e3"
OWN = frozenset({"campaigns", "state", "pulumi"})
"""Folders below `FILES` that are no stack's."""

VERSION = "version: 1\n"
"""What Pulumi writes into `META`."""


class _Locked(msgspec.Struct):
    pid: int
    hostname: str
    timestamp: datetime


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock of an update, taken by a process of ``machine``; ``stale`` if that is gone.

    One that names nobody (``pid`` is 0) is stale when no engine of this project runs.
    """

    path: Path
    pid: int
    machine: str
    stale: bool


@dataclass(frozen=True, kw_only=True)
class StateLab:
    """A lab as the state of a stack has it: its name, and its folder."""

    stack: str
    id: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class StateLabs:
    """The labs that any stack of this backend has, and the states that cannot tell theirs."""

    labs: Sequence[StateLab]
    unreadable: Sequence[Path]

    def of(self, stack: str) -> StateLab | None:
        """Return the lab of a stack."""
        return next((lab for lab in self.labs if lab.stack == stack), None)


def names() -> list[str]:
    """Return the stacks that have state or files here."""
    with_state = {stack_of(path) for path in checkpoints(FILES) if path.parent == STACKS}
    with_files = (
        {path.name for path in FILES.iterdir() if path.is_dir()} if FILES.is_dir() else set()
    )
    return sorted((with_state | with_files) - OWN)


def resources(stack: str) -> Sequence[Resource]:
    """Return what the state of a stack has; nothing where there is no state.

    Raises `UnreadableError` if that is not whole.
    """
    path = pulumi_state.checkpoint(FILES, stack)
    return [] if path is None else read(path)


def known() -> StateLabs:
    """Return the labs of all states: also of stacks that were renamed, and of other projects."""
    labs, unreadable = [], []
    for path in checkpoints(FILES):
        try:
            found = read(path)
        except UnreadableError:
            unreadable.append(path)
            continue
        for resource in found:
            if resource.type == OURS + "Lab" and resource.id:
                values = resource.outputs or resource.inputs or {}
                folder = Path(str(values.get("folder", "")))
                labs.append(StateLab(stack=stack_of(path), id=resource.id, folder=folder))
    return StateLabs(labs=labs, unreadable=unreadable)


def locks(stack: str) -> list[Lock]:
    """Return the locks of a stack."""
    return [lock for path in (LOCKS / stack).glob("*") if (lock := _lock(path))]


def backups(path: Path) -> Iterator[Path]:
    """Yield whole states of the stack whose checkpoint is ``path``, the newest first."""
    name = stack_of(path)
    project = path.parent.name
    kept = [
        *path.parent.glob(f"{name}.json*.bak"),
        *(STORE / "backups" / project / name).glob("*.json*"),
        *(STORE / "history" / project / name).glob("*.checkpoint.json*"),
    ]
    for backup in sorted(kept, key=lambda kept: kept.stat().st_mtime, reverse=True):
        with contextlib.suppress(UnreadableError):
            if backup.stat().st_size and backup.suffix != ".tmp":
                read(backup)
                yield backup


def restore(path: Path, backup: Path) -> None:
    """Put a backup in the place of a checkpoint that is not whole, which stays beside it."""
    content = backup.read_bytes()
    if path.exists():
        aside = path.with_name(f"{path.name}.unreadable-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        path.rename(aside)
    private.write(path, content)


def engines() -> list[int]:
    """Return the processes of Pulumi's that work in this project."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended, or is another user's
                command = (entry / "cmdline").read_bytes().split(b"\0")[0]
                if os.path.basename(command) == b"pulumi" and os.path.samestat(  # noqa: PTH119
                    (entry / "cwd").stat(), ROOT.stat()
                ):
                    found.append(int(entry.name))
    return found


def _lock(path: Path) -> Lock | None:
    try:
        taken = msgspec.json.decode(path.read_bytes(), type=_Locked)
    except FileNotFoundError:  # it was just released
        return None
    except (OSError, ValueError):
        return Lock(path=path, pid=0, machine="", stale=not engines() and path.exists())
    here = taken.hostname == socket.gethostname()
    stale = here and not _holds(taken.pid, taken.timestamp)
    return Lock(path=path, pid=taken.pid, machine=taken.hostname, stale=stale)


def _holds(pid: int, taken: datetime) -> bool:
    """Return whether the process of that number is the one that took a lock then."""
    process = identify(pid)
    if process is None:
        return False
    since_boot = process.started / os.sysconf("SC_CLK_TCK")
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot
    # one that began after the lock was taken has only got its number
    return began <= taken.timestamp() + 1
