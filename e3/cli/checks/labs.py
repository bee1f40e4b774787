"""What crashed labs and updates left, stack by stack; only this project's own is touched."""

import contextlib
import functools
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e3 import leftovers
from e3.access.identity import ProcessIdentity, identify
from e3.cli.checks import state
from e3.cli.checks.finding import Finding
from e3.cli.project import FILES, ROOT
from e3.errors import LabError
from e3.lab import client

DAEMON = ("-m", "e3.lab.daemon")
DEATH_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A lab's process, and the folder that it was told to work in."""

    process: ProcessIdentity
    folder: Path

    @property
    def id(self) -> str:
        """The lab as its resource is called (e3/providers/lab.py)."""
        return f"{self.process.pid}-{self.process.started}-{self.process.boot[:8]}"


def check() -> Iterator[Finding]:
    """Yield what is left of labs and updates, or one line that says that nothing is."""
    running = daemons()
    by_stack = {daemon.folder.parent.name: daemon for daemon in running}
    found = [
        finding
        for name in sorted({*state.names(), *by_stack})
        for finding in _stack(name, by_stack.get(name))
    ]
    yield from found or [Finding(level="OK", subject="leftovers", detail="none")]


def lost() -> set[str]:
    """Return the stacks whose lab does not run any more: `check` tells it."""
    running = {daemon.id for daemon in daemons()}
    recorded = {name: _recorded(name) for name in state.names()}
    return {name for name, lab in recorded.items() if lab is not None and lab not in running}


def daemons() -> list[Daemon]:
    """Return the labs of this project's stacks that run, whether or not anybody knows them."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        process = identify(int(entry.name))
        with contextlib.suppress(OSError, IndexError):
            words = (entry / "cmdline").read_text(errors="replace").split("\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            folder = Path(words[3])
            ours = folder.name == "lab" and folder.parent.parent == ROOT / FILES
            # the same process before and after it was read
            if tuple(words[1:3]) == DAEMON and ours and process and process.alive():
                found[process.pid] = (parent, Daemon(process=process, folder=folder))
    # the processes that a daemon forks have its command line too, and end with it
    return [daemon for parent, daemon in found.values() if parent not in found]


def _stack(name: str, daemon: Daemon | None) -> Iterator[Finding]:
    subject = f"stack {name}"
    locks = state.locks(name)
    for lock in locks:
        if lock.stale:
            yield Finding(
                level="FAIL",
                subject=subject,
                detail=f"locked by an update whose process {lock.pid} is gone",
                remedy=f"`e3 doctor --fix`, or `pulumi cancel --stack {name}`",
                fix=functools.partial(lock.path.unlink, missing_ok=True),
            )
        else:
            detail = f"an update is at work (process {lock.pid} of {lock.machine})"
            yield Finding(level="OK", subject=subject, detail=detail)
            return
    recorded = _recorded(name)
    if recorded is None:
        yield from _forgotten(name, daemon)
    elif daemon is None or daemon.id != recorded:
        yield Finding(
            level="FAIL",
            subject=subject,
            detail="its lab died, and all hosts with it"
            if daemon is None
            else f"an update that was lost started another lab (process {daemon.process.pid})",
            remedy=f"`pulumi refresh --stack {name}`, then `pulumi up --stack {name}`",
        )


def _recorded(name: str) -> str | None:
    """Return the lab that the state of a stack has."""
    return next((r["id"] for r in state.resources(name) if r["type"].endswith("/e3:Lab")), None)


def _forgotten(name: str, daemon: Daemon | None) -> Iterator[Finding]:
    """Yield what is there of a stack whose state knows no lab."""
    folder = ROOT / FILES / name / "lab"
    subject, remedy = f"stack {name}", "`e3 doctor --fix` removes it"
    if daemon is not None:
        yield Finding(
            level="WARN",
            subject=subject,
            detail=f"a lab runs (process {daemon.process.pid}) that no state knows",
            remedy=remedy,
            fix=functools.partial(_end, daemon),
        )
        return
    left = [path for path in client.LEFT_BY_A_LAB if (folder / path).exists()]
    if left:
        yield Finding(
            level="WARN",
            subject=subject,
            detail=f"files of a lab that was killed: {', '.join(left)} in {FILES / name / 'lab'}",
            remedy=remedy,
            fix=functools.partial(client.stop, folder),
        )
    for line in leftovers.inside(folder):
        yield Finding(
            level="WARN",
            subject=subject,
            detail=f"{line} is in a namespace of a lab that is gone",
            remedy="end it if it is yours",
        )


def _end(daemon: Daemon) -> None:
    """Stop a lab; its process is killed where its folder is no longer what it was."""
    client.stop(daemon.folder)
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(daemon.process.pid)
        try:
            # asked after opening: the descriptor is that process's, and cannot become another's
            if not daemon.process.alive():
                return
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            if not select.select([descriptor], [], [], DEATH_SECONDS)[0]:
                raise LabError(f"process {daemon.process.pid} does not die")
        finally:
            os.close(descriptor)
