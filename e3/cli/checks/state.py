"""Pulumi's own files of the local backend: read even where Pulumi itself does not work.

Stacks are JSON files, and a running update holds a lock file that names its process (pulumi
3.259, ``pkg/backend/diy``).
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from e3.access.identity import identify
from e3.cli.project import FILES

STACKS = FILES / "state/.pulumi/stacks/e3"
LOCKS = FILES / "state/.pulumi/locks/organization/e3"
OWN = frozenset({"state", "pulumi"})
"""Folders below `FILES` that are no stack's."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock of an update, taken by a process of ``machine``; ``stale`` if that is gone."""

    path: Path
    pid: int
    machine: str
    stale: bool


def names() -> list[str]:
    """Return the stacks that have state or files here."""
    with_state = {path.stem for path in STACKS.glob("*.json")}
    with_files = (
        {path.name for path in FILES.iterdir() if path.is_dir()} if FILES.is_dir() else set()
    )
    return sorted((with_state | with_files) - OWN)


def resources(stack: str) -> list[Mapping[str, Any]]:
    """Return what the state of a stack has; nothing where there is no state."""
    try:
        checkpoint = json.loads((STACKS / f"{stack}.json").read_text())["checkpoint"]
    except FileNotFoundError:
        return []
    found: list[Mapping[str, Any]] = (checkpoint.get("latest") or {}).get("resources") or []
    return found


def locks(stack: str) -> list[Lock]:
    """Return the locks of a stack."""
    found = []
    for path in (LOCKS / stack).glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):  # it was just released
            content = json.loads(path.read_text())
            found.append(
                Lock(
                    path=path,
                    pid=content["pid"],
                    machine=content["hostname"],
                    stale=content["hostname"] == socket.gethostname()
                    and not _holds(content["pid"], content["timestamp"]),
                )
            )
    return found


def _holds(pid: int, taken: str) -> bool:
    """Return whether the process of that number is the one that took a lock then."""
    process = identify(pid)
    if process is None:
        return False
    since_boot = process.started / os.sysconf("SC_CLK_TCK")
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot
    # one that began after the lock was taken has only got its number
    return began <= datetime.fromisoformat(taken).timestamp() + 1
