"""Which labs run, found among this machine's processes, without any record of them."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e3.access.identity import ProcessIdentity, identify

COMMAND = ("-m", "e3.lab.daemon")
RECORD = "lab.pid"
"""A file in a lab's folder that its daemon holds open for as long as it runs."""

GONE = " (deleted)"


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A lab's process, and where its folder is now, even if the project was moved.

    ``current`` says that the folder still belongs to this lab; otherwise it was removed.
    """

    process: ProcessIdentity
    folder: Path
    current: bool

    @property
    def id(self) -> str:
        """The id of the lab's resource."""
        return lab_id(self.process)


def lab_id(process: ProcessIdentity) -> str:
    """Return the unique id of the lab whose daemon is this process."""
    return f"{process.pid}-{process.started}-{process.boot[:8]}"


def is_running(lab: str) -> bool:
    """Return whether the lab with that id runs, wherever its project is now."""
    pid = lab.partition("-")[0]
    process = identify(int(pid)) if pid.isdecimal() else None
    return process is not None and lab_id(process) == lab


def daemons(files: Path) -> list[Daemon]:
    """Return this user's labs whose folders are, or were, below ``files``, a project's ``.e3``.

    Folders are compared by device and inode, not by name: another checkout may now be at the same
    path, or have the same path in a container.
    """
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(
                OSError, IndexError, ValueError
            ):  # it has ended, or belongs to another user
                parent, daemon = _daemon(entry, files.resolve())
                if daemon is not None:
                    found[daemon.process.pid] = (parent, daemon)
    # the processes that a daemon forks have its command line too, and end with it
    return [daemon for parent, daemon in found.values() if parent not in found]


def _daemon(entry: Path, files: Path) -> tuple[int, Daemon | None]:
    process = identify(int(entry.name))
    words = (entry / "cmdline").read_text(errors="replace").split("\0")
    if process is None or tuple(words[1:3]) != COMMAND or _user(entry) != os.geteuid():
        return 0, None
    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    for descriptor in _records(entry):
        said = str(descriptor.readlink())
        folder = Path(said.removesuffix(GONE)).parent
        if folder.name != "lab" or folder.parent.parent != files:
            continue
        current = _same(descriptor, folder / RECORD)
        # a lab without its folder is recognised by the project that it was started in
        if (current or _same(entry / "cwd", files.parent)) and process.alive():
            return parent, Daemon(process=process, folder=folder, current=current)
    return parent, None


def _records(entry: Path) -> Iterator[Path]:
    for descriptor in (entry / "fd").iterdir():
        with contextlib.suppress(OSError):
            if Path(str(descriptor.readlink()).removesuffix(GONE)).name == RECORD:
                yield descriptor


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samestat(one.stat(), other.stat())
    except OSError:
        return False


def _user(entry: Path) -> int:
    """Return the user of a process; the owner of its /proc entry is root for some of ours."""
    lines = (entry / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Uid:"))
