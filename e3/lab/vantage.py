"""Where a lab's packets can be watched, and commands that run there.

A router has no process of its own: its network namespace is a descriptor of the lab's daemon. A
command that runs there sees the files of this machine, and the packets of the router alone.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from e3.access.environment import ENVIRONMENT
from e3.errors import LabError
from e3.interfaces import Host
from e3.lab.client import Lab
from e3.remote.tasks import whole

LINE_BYTES = 16 << 20
"""The longest line that a command there may write."""

GRACE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Vantages:
    """The network namespaces of a lab besides its hosts', as paths below /proc.

    ``regions`` has the router of each region, ``homes`` the innermost router before each host that
    is not public. ``outside`` has the addresses of each host in its region's network: behind NATs
    those of the outermost.
    """

    daemon: int
    in_user_namespace: bool
    regions: Mapping[str, str]
    homes: Mapping[str, str]
    outside: Mapping[str, Sequence[str]]

    @asynccontextmanager
    async def attach(
        self, place: str, argv: Sequence[str]
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a command in the namespace at that path; it is killed when the context ends."""
        user = ["-U", "--preserve-credentials"] if self.in_user_namespace else []
        process = await whole(
            asyncio.create_subprocess_exec(
                *["nsenter", "-t", str(self.daemon), *user, f"--net={place}", "--", *argv],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=ENVIRONMENT,
                cwd="/",
                limit=LINE_BYTES,
                start_new_session=True,  # no Ctrl-C from our terminal
            ),
            undo=_end,
        )
        try:
            yield process
        finally:
            await _end(process)

    @asynccontextmanager
    async def delivered(self, address: str, host: Host) -> AsyncIterator[None]:
        """Let the router of a host's region deliver packets for any address to the host.

        So may a provider that helps an attacker; a host itself must not take such packets for its
        overlay's.
        """
        route = [address, "via", host.underlay, "dev", "br0", "onlink"]
        place = self.regions[host.region]
        await self._ip(place, ["route", "replace", *route])
        try:
            yield
        finally:
            await self._ip(place, ["route", "del", *route])

    async def _ip(self, place: str, words: Sequence[str]) -> None:
        async with self.attach(place, ["ip", *words]) as process:
            if await process.wait():
                raise LabError(f"the lab's router refuses: ip {' '.join(words)}")


def vantages(lab: Lab) -> Vantages:
    """Return where the packets of a lab that runs can be watched."""
    told = lab.status()
    hosts = told["hosts"]
    return Vantages(
        daemon=int(told["pid"]),
        in_user_namespace=any(host["in_user_namespace"] for host in hosts),
        regions=told["routers"],
        homes={host["name"]: host["home_routers"][-1] for host in hosts if host["home_routers"]},
        outside={host["name"]: host["outside"] for host in hosts},
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close the command's input, give it a moment, then kill it."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE_SECONDS):
            await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
