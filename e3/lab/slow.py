"""Hosts of a lab with a slow processor: all that runs on one shares a part of one processor."""

import os
from collections.abc import Iterator
from pathlib import Path

from e3.errors import PlatformError
from e3.remote import processors

REMEDY = (
    "a slow host needs cgroups whose controller is cpu, and root; run the lab as root on such a "
    "machine, or leave slow hosts out"
)


def shortfall() -> str | None:
    """Return why this machine cannot make a host slow; None if it can."""
    return REMEDY if processors.controller() is None or os.geteuid() != 0 else None


def group(host: str) -> processors.Group:
    """Return a new group for a host's processes; raise `PlatformError` if there can be none."""
    found = processors.controller()
    try:
        if found is not None:
            return found.make(host)
    except OSError as error:
        raise PlatformError(f"{REMEDY} ({error.strerror})") from None
    raise PlatformError(REMEDY)


def processes(first: int) -> Iterator[int]:
    """Yield the processes in the network namespace of a host's first process."""
    own = Path(f"/proc/{first}/ns/net").readlink()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "ns/net").readlink() == own:
                    yield int(entry.name)
            except OSError:  # it has ended
                continue
