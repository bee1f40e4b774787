"""What crashed labs and updates left, stack by stack.

A fix only touches what this project's user made and no state of this project has. A lab is
identified by its name, which no other lab ever has, and by the folder that it holds.
"""

import contextlib
import functools
import os
import select
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from e3 import leftovers
from e3.cli.checks import state
from e3.cli.checks.finding import Finding
from e3.cli.place import ROOT
from e3.deployed import FILES
from e3.errors import LabError
from e3.lab import client
from e3.lab.running import Daemon, daemons, is_running

DEATH_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class LabFacts:
    """The labs that the states have, and the labs of this project that run."""

    known: state.StateLabs
    running: Sequence[Daemon]

    def holder(self, folder: Path) -> Daemon | None:
        """Return the lab that holds this folder now."""
        here = [daemon for daemon in self.running if daemon.current]
        return next((daemon for daemon in here if daemon.folder == ROOT / folder), None)

    @property
    def strays(self) -> list[Daemon]:
        """Labs that no state has: neither by name, nor as what its lab's folder leads to."""
        ids = {lab.id for lab in self.known.labs}
        folders = {ROOT / lab.folder for lab in self.known.labs}
        return [
            daemon
            for daemon in self.running
            if daemon.id not in ids and not (daemon.current and daemon.folder in folders)
        ]


def check() -> Iterator[Finding]:
    """Yield what is left of labs and updates, or one finding that nothing is left."""
    facts = LabFacts(known=state.known(), running=daemons(ROOT / FILES))
    folders = {daemon.folder.parent.name for daemon in facts.running}
    names = sorted({*state.names(), *folders})
    found = [finding for name in names for finding in _stack(name, facts)]
    yield from found or [Finding(level="OK", subject="leftovers", detail="none")]


def lost() -> set[str]:
    """Return the stacks whose lab does not run any more; `check` reports them."""
    return {lab.stack for lab in state.known().labs if not is_running(lab.id)}


def _stack(name: str, facts: LabFacts) -> Iterator[Finding]:
    locks = state.locks(name)
    yield from (_stale(name, lock) for lock in locks if lock.stale)
    if at_work := [lock for lock in locks if not lock.stale]:
        yield _at_work(name, at_work[0])
        return
    lab = facts.known.of(name)
    if lab is not None and not is_running(lab.id):
        other = facts.holder(lab.folder)
        yield Finding(
            level="FAIL",
            subject=f"stack {name}",
            detail="its lab died, and all hosts with it"
            if other is None
            else f"an update that was lost started another lab (process {other.process.pid})",
            remedy=f"`pulumi refresh --stack {name}`, then `pulumi up --stack {name}`",
        )
    for daemon in facts.strays:
        if daemon.folder.parent.name == name:
            yield _stray(name, daemon, facts)
    yield from _files(name, facts)


def _stale(name: str, lock: state.Lock) -> Finding:
    whose = (
        f"locked by an update whose process {lock.pid} is gone"
        if lock.pid
        else f"locked by {lock.path}, which is empty or not whole and names no process, as a full "
        "disk leaves it"
    )
    return Finding(
        level="FAIL",
        subject=f"stack {name}",
        detail=whose,
        remedy=f"`e3 doctor --fix`, or `pulumi cancel --stack {name}`",
        fix=functools.partial(lock.path.unlink, missing_ok=True),
    )


def _at_work(name: str, lock: state.Lock) -> Finding:
    who = f"process {lock.pid} of {lock.machine}" if lock.pid else "its lock is being written"
    return Finding(level="OK", subject=f"stack {name}", detail=f"an update is at work ({who})")


def _stray(name: str, daemon: Daemon, facts: LabFacts) -> Finding:
    detail = f"a lab runs (process {daemon.process.pid}) that no state knows"
    if not daemon.current:
        detail += f"; its folder {FILES / name / 'lab'} was removed"
    if facts.known.unreadable:
        # whose lab it is stands in there
        return Finding(
            level="WARN",
            subject=f"stack {name}",
            detail=f"{detail}, as far as can be read",
            remedy=f"repair {facts.known.unreadable[0]} first",
        )
    return Finding(
        level="WARN",
        subject=f"stack {name}",
        detail=detail,
        remedy="`e3 doctor --fix` removes it",
        fix=functools.partial(_end, daemon),
    )


def _files(name: str, facts: LabFacts) -> Iterator[Finding]:
    """Yield what is in a lab's folder if no lab holds it and no state has it."""
    place = FILES / name / "lab"
    taken = {lab.folder for lab in facts.known.labs} | {
        daemon.folder.relative_to(ROOT) for daemon in facts.running
    }
    if place in taken or facts.known.unreadable:
        return
    subject = f"stack {name}"
    left = [path for path in client.LAB_FILES if (ROOT / place / path).exists()]
    if left:
        yield Finding(
            level="WARN",
            subject=subject,
            detail=f"files of a lab that was killed: {', '.join(left)} in {place}",
            remedy="`e3 doctor --fix` removes it",
            fix=functools.partial(client.stop, ROOT / place),
        )
    for line in leftovers.inside(ROOT / place):
        yield Finding(
            level="WARN",
            subject=subject,
            detail=f"{line} is in a namespace of a lab that is gone",
            remedy="end it if it is yours",
        )


def _end(daemon: Daemon) -> None:
    """Stop a lab; kill its process if its folder was removed or replaced."""
    if daemon.current:
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
