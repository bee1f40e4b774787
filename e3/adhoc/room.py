"""A room: namespaces of this machine in which another person's program runs, without any right.

It is a host like others (`e3.interfaces.Host`), so E3's runner confines and watches the program in
it as anywhere. The machine's network, its processes and what is in /run are not in there; files
of the machine are, and the runner's own view hides them from the program.
"""

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from e3.access.identity import identify
from e3.access.namespace import NamespaceAccess
from e3.errors import PlatformError
from e3.interfaces import Host
from e3.remote.text import printable

SIZE_MB = 512
"""Of each of the room's own folders, in memory."""

READY_SECONDS = 10.0
SOURCE = Path(__file__).parents[1] / "remote" / "own_room.py"
"""The program of a room's first process."""

SETTINGS = {
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),  # Ubuntu 24.04
    "kernel/unprivileged_userns_clone": ("0", "1"),  # Debian 10
    "user/max_user_namespaces": ("0", "10000"),
}
"""Settings of the kernel that forbid rooms: the value that does, and the one that does not."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """A room; ``pid`` is its first process, as this machine counts."""

    host: Host
    pid: int


@asynccontextmanager
async def room(name: str, address: str) -> AsyncIterator[Room]:
    """Make a room for a party that is called ``name`` and has this address; it ends with the block.

    Raises `PlatformError` with a remedy if this machine permits none.
    """
    require()
    apart = ["--user", "--map-root-user", "--net", "--mount", "--uts", "--ipc", "--pid"]
    first = [sys.executable, "-I", "-c", SOURCE.read_text()]
    argv = ["unshare", *apart, "--fork", "--kill-child", *first]
    process = await asyncio.create_subprocess_exec(
        *argv,
        str(SIZE_MB),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        pid = await _first_process(process)
        known = identify(pid)
        if known is None:
            raise PlatformError("the room for the program ended at once; try again")
        access = NamespaceAccess(
            host=name, pid=pid, started=known.started, boot=known.boot, in_user_namespace=True
        )
        host = Host(
            name=name,
            region="here",
            system=f"{platform.machine()}-linux",
            underlay=address,
            reachability="public",
            python=sys.executable,
            tools="/usr/bin",
            access=access,
        )
        yield Room(host=host, pid=pid)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _first_process(process: asyncio.subprocess.Process) -> int:
    """Return the room's first process once the room is furnished."""
    said = b""
    if process.stdout is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                said = await process.stdout.readline()
    if said != b"ready\n":
        why = printable(said.decode(errors="replace").strip() or "no answer")
        raise PlatformError(f"this machine permits no room for the program ({why}); {remedy()}")
    return _child(process.pid)


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def require() -> None:
    """Raise `PlatformError` if this system has no namespaces, or lacks a program."""
    if sys.platform != "linux":
        raise PlatformError(
            "programs of others run in namespaces of Linux, so that they reach nothing of this "
            "machine; use a Linux machine, or one in a virtual machine"
        )
    missing = [tool for tool in ("unshare", "nsenter", "tini") if shutil.which(tool) is None]
    if missing:
        packages = sorted({"tini" if tool == "tini" else "util-linux" for tool in missing})
        raise PlatformError(
            f"{', '.join(missing)} are needed for the program's room; install "
            f"{' and '.join(packages)}"
        )


def remedy() -> str:
    """Return what permits rooms on this machine, with its current settings."""
    for name, (bad, good) in SETTINGS.items():
        with suppress(OSError):
            if Path("/proc/sys", name).read_text().strip() == bad:
                return f"ask its owner for `sysctl {name.replace('/', '.')}={good}`"
    if os.geteuid() == 0:
        return "a container needs more rights for that (`docker run --privileged`)"
    return "ask its owner to permit user namespaces"
