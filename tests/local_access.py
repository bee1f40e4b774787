"""Hosts without a lab: plain processes of this machine on loopback addresses.

A real implementation of the parts of `e3.interfaces.Access` that sessions use, for tests that need
real processes and no network: what lies in E3's folders on a host lies in a folder of its own here.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from e3.errors import HostError
from e3.interfaces import Completed, File, Host, Process, Service

SHARED = ("/run/e3", "/var/lib/e3", "/var/lib/e3-inputs")
LINE_BYTES = 1_000_000


@dataclass(frozen=True)
class LocalProcess:
    """An `asyncio` subprocess as `e3.interfaces.Process`."""

    inner: asyncio.subprocess.Process

    @property
    def stdin(self) -> asyncio.StreamWriter:
        """What the command reads."""
        assert self.inner.stdin is not None
        return self.inner.stdin

    @property
    def stdout(self) -> asyncio.StreamReader:
        """What the command writes."""
        assert self.inner.stdout is not None
        return self.inner.stdout

    async def wait(self) -> int:
        """Return the exit status, negative for a signal."""
        return await self.inner.wait()


@dataclass(frozen=True)
class LocalAccess:
    """Commands and files of one pretended host; ``root`` holds what would be E3's folders."""

    root: Path

    def place(self, text: str) -> str:
        """Return a path or argument as it reads on this machine."""
        ours = any(text == folder or text.startswith(f"{folder}/") for folder in SHARED)
        return str(self.root) + text if ours else text

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float
    ) -> Completed:
        """Run a command to its end."""
        async with asyncio.timeout(timeout_seconds), self.attach(argv) as process:
            assert isinstance(process, LocalProcess)
            stdout, _ = await process.inner.communicate(stdin)
            return Completed(exit=await process.wait(), stdout=stdout, stderr=b"")

    async def put(self, files: Sequence[File], *, timeout_seconds: float) -> frozenset[str]:
        """Write each file, making folders as needed."""
        async with asyncio.timeout(timeout_seconds):
            await asyncio.to_thread(self._write, files)
        return frozenset(file.path for file in files)

    def _write(self, files: Sequence[File]) -> None:
        for file in files:
            path = Path(self.place(file.path))
            if not path.parent.is_dir():
                for folder in reversed((path.parent, *path.parent.parents)):
                    folder.mkdir(exist_ok=True)
            path.write_bytes(file.content)
            path.chmod(file.mode)

    async def get(self, paths: Sequence[str], *, timeout_seconds: float) -> Mapping[str, bytes]:
        """Return the content of each path that exists."""
        async with asyncio.timeout(timeout_seconds):
            return await asyncio.to_thread(self._read, paths)

    def _read(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        places = {path: Path(self.place(path)) for path in paths}
        return {path: place.read_bytes() for path, place in places.items() if place.exists()}

    async def start(self, service: Service, *, timeout_seconds: float) -> None:
        """Fail: sessions start no services."""
        del timeout_seconds
        raise HostError(f"{service.name}: no services here")

    async def stop(self, name: str, *, timeout_seconds: float) -> None:
        """Do nothing: there are no services."""

    @asynccontextmanager
    async def attach(self, argv: Sequence[str]) -> AsyncIterator[Process]:
        """Start a command and hold it."""
        process = await asyncio.create_subprocess_exec(
            *map(self.place, argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES,
        )
        try:
            yield LocalProcess(process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        await process.wait()
            finally:  # also when this task is cancelled while it waits
                if process.returncode is None:
                    process.kill()
                    await process.wait()


def local_hosts(folder: Path, count: int, *, first: int = 2) -> list[Host]:
    """Return hosts ``local-0``, ... at 127.0.0.2, ...: the party's address is its underlay."""
    return [
        Host(
            name=f"local-{i}",
            region="local",
            system=f"{os.uname().machine}-linux",
            underlay=f"127.0.{(i + first) // 250}.{(i + first) % 250}",
            reachability="public",
            python=sys.executable,
            tools="/usr/bin",
            access=LocalAccess(folder / f"local-{i}"),
        )
        for i in range(count)
    ]
