"""Find what a stack has left on this machine.

Everything of a lab depends on processes, and every host of a lab has a file of the lab's folder
mounted. So it suffices to look for the processes of the daemon and those in its namespaces.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from e3 import pulumi_state
from e3.inventory.provision import LEFT_BEHIND
from e3.lab import running


def find(folder: Path) -> list[str]:
    """Return one line for each thing that is left of the stack whose files are in ``folder``."""
    lab = folder.absolute() / "lab"
    return [*_processes(lab), *_files(lab), *_machines(folder), *_state(folder.parent, folder.name)]


def stacks(root: Path) -> list[Path]:
    """Return the folders of all stacks that have files below ``root``, which is ``.e3``."""
    own = {"campaigns", "state", "pulumi"}
    folders = root.iterdir() if root.is_dir() else ()
    return sorted(path for path in folders if path.is_dir() and path.name not in own)


def inside(lab: Path) -> list[str]:
    """Return one line for each process in a mount namespace of the lab whose files are there."""
    return [f"process {pid}: {command}" for pid, command, mounts in _all() if f"{lab}/" in mounts]


def _processes(lab: Path) -> Iterator[str]:
    # by the folder's identity: the path in the command line may now be another checkout's
    labs = {it.process.pid for it in running.daemons(lab.parents[1]) if it.folder == lab}
    for pid, command, mounts in _all():
        if pid in labs or f"{lab}/" in mounts:
            yield f"process {pid}: {command}"


def _all() -> Iterator[tuple[int, str, str]]:
    """Yield each other process of this machine with its command line and its mounts."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it ended, or is another user's
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ")
            command = words.decode(errors="replace").strip() or "(no command line)"
            yield int(process.name), command, (process / "mountinfo").read_text(errors="replace")


def _files(lab: Path) -> Iterator[str]:
    for name in ("lab.sock", "lab.pid", "hosts", "ssh"):
        if (lab / name).exists():
            yield f"file {lab / name}"


def _machines(folder: Path) -> Iterator[str]:
    path = folder / LEFT_BEHIND
    if path.exists():
        for line in path.read_text().splitlines():
            yield f"machine {line}; remove them there, then remove {path}"


def _state(files: Path, stack: str) -> Iterator[str]:
    path = pulumi_state.checkpoint(files, stack)
    if path is not None:
        try:
            resources = pulumi_state.read(path)
        except pulumi_state.UnreadableError as error:
            yield f"state {error}"
            return
        for resource in resources:
            yield f"state entry {resource.urn}"
