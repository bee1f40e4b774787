"""One program on many hosts of this machine: loaded once, then forked onto each.

Hosts of a lab share this machine's processors, and a program of Python takes longer to load than
to fork. See `e3.remote.fork_server` for the other side.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from e3.access.environment import ENVIRONMENT, UMASK
from e3.errors import HostError
from e3.interfaces import Enterable
from e3.remote.tasks import whole

LINE_BYTES = 1_000_000
GRACE_SECONDS = 1.5
"""For a program to end after the end of its input; as for other attached commands."""


@dataclass(frozen=True)
class Pipes:
    """What a program reads and writes; its standard error is merged into ``stdout``."""

    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader


class Template:
    """A program that has been loaded, and runs on no host yet."""

    def __init__(self, control: socket.socket) -> None:
        """Ask it by ``control``."""
        self._control = control
        self._one = asyncio.Lock()

    @asynccontextmanager
    async def on(self, access: Enterable) -> AsyncIterator[Pipes]:
        """Run it on a host; its input ends with the context, and all of it with that of `loaded`.

        Raises `HostError` if the host is gone.
        """
        (theirs, written), (read, answered) = os.pipe(), os.pipe()
        try:
            with access.namespaces() as namespaces:
                await self._fork([theirs, answered, *namespaces])
        except BaseException:
            os.close(written)
            os.close(read)
            raise
        finally:
            os.close(theirs)
            os.close(answered)
        async with _streams(written, read) as pipes:
            yield pipes

    async def _fork(self, descriptors: Sequence[int]) -> None:
        loop = asyncio.get_running_loop()
        async with self._one:  # descriptors on their way are limited
            try:
                socket.send_fds(self._control, [b"."], list(descriptors))
                done = await loop.sock_recv(self._control, 1)
            except ConnectionError:
                done = b""
            if not done:
                raise HostError("a program that should run on hosts of this machine has ended")


@asynccontextmanager
async def _streams(written: int, read: int) -> AsyncIterator[Pipes]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb", 0)
    )
    writing, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(written, "wb", 0)
    )
    writer = asyncio.StreamWriter(writing, protocol, None, loop)
    try:
        yield Pipes(writer, reader)
    finally:
        writing.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                while await reader.read(LINE_BYTES):
                    pass
        if writing.get_write_buffer_size():  # it has not read all, and never will
            writing.abort()
        reading.close()


@asynccontextmanager
async def loaded(argv: Sequence[str]) -> AsyncIterator[Template]:
    """Start ``argv``, which gets a socket's descriptor as its last argument and serves it.

    It and all that it started on hosts are killed when the context ends.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.settimeout(0)
        with theirs:
            process = await whole(_started([*argv, str(theirs.fileno())], theirs), undo=_kill)
        try:
            yield Template(ours)
        finally:
            await _kill(process)


async def _started(argv: Sequence[str], control: socket.socket) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        pass_fds=[control.fileno()],
        env=ENVIRONMENT,
        cwd="/",
        umask=UMASK,
        start_new_session=True,  # a group of all that it forks, to be killed as one
    )


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
