"""What sessions left on hosts, and whether there is room for the next one."""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from e3.cli.checks import labs, state
from e3.cli.checks.finding import Finding
from e3.deployed import Stack, joined
from e3.errors import E3Error, HostError
from e3.interfaces import Host
from e3.pulumi_state import UnreadableError
from e3.remote.tasks import gather_or_cancel
from e3.remote.text import printable

FOLDER = "/run/e3/sessions"
ANSWER_SECONDS = 5.0
REMOVE_SECONDS = 60.0

NEEDED_BYTES = 8_000_000
NEEDED_FILES = 200
"""For a runner and a small program."""

LOOK = f"""
import json, os, sys, time
place = sys.argv[1]
running = b""
for number in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{{number}}/cmdline", "rb") as file:
            running += file.read()
    except OSError:
        pass
names = sorted(os.listdir(place)) if os.path.isdir(place) else []
places = [os.path.join(place, name) for name in names]
while not os.path.isdir(place):
    place = os.path.dirname(place)
room = os.statvfs(place)
print(json.dumps({{
    "left": [
        path for path in places
        if os.fsencode(path) not in running and time.time() - os.lstat(path).st_mtime > 60
    ],
    "free_bytes": room.f_bavail * room.f_frsize,
    "free_files": room.f_favail if room.f_files else {NEEDED_FILES},
}}))
"""
"""A Python program; it leaves out folders of the last minute, which may still be filled."""

REMOVE = 'chmod -R u+rwX "$@"; rm -rf "$@"'


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """What a host reports: folders of sessions that do not run, and free space there."""

    left: list[str]
    free_bytes: int
    free_files: int

    @property
    def full(self) -> bool:
        """Whether a session could not begin there."""
        return self.free_bytes < NEEDED_BYTES or self.free_files < NEEDED_FILES


def check() -> Iterator[Finding]:
    """Yield what is wrong at hosts of stacks that are up; skip hosts that do not answer."""
    for name in sorted({*state.names()} - labs.lost()):
        try:
            stack = joined(state.resources(name))
        except (UnreadableError, E3Error, KeyError, ValueError):
            continue  # `e3.cli.checks.hosts` says so
        if stack is not None:
            yield from _findings(stack)


def _findings(stack: Stack) -> Iterator[Finding]:
    for host, seen in zip(stack.hosts, asyncio.run(_look(stack.hosts)), strict=True):
        if seen is None:
            continue
        subject = f"stack {stack.name}"
        if seen.left:
            count = f"{len(seen.left)} session{'s' * (len(seen.left) > 1)}"
            yield Finding(
                level="WARN",
                subject=subject,
                detail=f"{host.name} still has the folders of {count} in {FOLDER}",
                remedy="`e3 doctor --fix` removes them",
                fix=partial(_fix, host, seen.left),
            )
        if seen.full:
            yield Finding(
                level="FAIL",
                subject=subject,
                detail=f"the disk of {host.name} is full: {seen.free_bytes // 1_000_000} MB and "
                f"{seen.free_files} files are free at {FOLDER}",
                remedy="make room there: no session can begin",
            )


async def _look(hosts: Sequence[Host]) -> Sequence[HostState | None]:
    return await gather_or_cancel(map(_seen, hosts))


async def _seen(host: Host) -> HostState | None:
    argv = [host.python, "-I", "-c", LOOK, FOLDER]
    try:
        done = await host.access.run(argv, timeout_seconds=ANSWER_SECONDS)
        return None if done.exit else msgspec.json.decode(done.stdout, type=HostState)
    except (HostError, TimeoutError, msgspec.DecodeError):
        return None


def _fix(host: Host, folders: list[str]) -> None:
    asyncio.run(_remove(host, folders))


async def _remove(host: Host, folders: list[str]) -> None:
    argv = ["sh", "-c", REMOVE, "sh", *folders]
    done = await host.access.run(argv, timeout_seconds=REMOVE_SECONDS)
    if done.exit:
        raise HostError(f"host {host.name}: {printable(done.complaint)}")
