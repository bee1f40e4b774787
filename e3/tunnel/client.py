"""Drive `e3-tunnel party`: commands go to its standard input, and it ends with that."""

import asyncio
import contextlib
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from e3.errors import OverlayError
from e3.remote.tasks import beside
from e3.remote.text import LINE_LENGTH, printable
from e3.tunnel.messages import (
    DECODER,
    LINE_BYTES,
    VERSION,
    Answer,
    Candidates,
    Done,
    Event,
    Open,
    Opened,
    Path,
    PathChange,
    Peer,
    Refused,
    Report,
    Up,
)

PROGRAM = "e3-tunnel"
ANSWER_SECONDS = 20.0
END_SECONDS = 5.0

Kind = TypeVar("Kind", bound=Answer)


class Input(Protocol):
    """What takes commands, as `asyncio.StreamWriter` does."""

    def write(self, data: bytes, /) -> None:
        """Write without waiting."""

    async def drain(self) -> None:
        """Wait until there is room for more."""


class Output(Protocol):
    """Where answers come from, as from `asyncio.StreamReader`."""

    async def readline(self) -> bytes:
        """Return the next line, nothing at the end."""


class Running(Protocol):
    """A running `e3-tunnel party`, here or on a host (`e3.interfaces.Process`)."""

    @property
    def stdin(self) -> Input:
        """What it reads."""

    @property
    def stdout(self) -> Output:
        """What it writes."""


@dataclass
class Tunnel:
    """The end of one party, and the last that is known of it.

    ``candidates`` is None until they are known; ``paths`` has what reaches each peer now, ``up``
    the peers with which a handshake is done. Every verb raises `OverlayError` if the program
    refuses it or has ended.
    """

    process: Running
    candidates: Candidates | None = None
    paths: Mapping[int, Path] = field(default_factory=dict)
    up: frozenset[int] = frozenset()
    _numbers: Iterable[int] = field(default_factory=lambda: itertools.count(1))
    _waiting: dict[int, "asyncio.Future[Answer]"] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _over: OverlayError | None = None

    async def open(self, asked: Open) -> Opened:
        """Make this party's end; the first verb, once."""
        opened = await self._do("open", asked, Opened)
        if opened.version != VERSION:
            raise OverlayError(
                f"{PROGRAM} is of version {opened.version}, and {VERSION} is needed; "
                "`scripts/setup` builds it"
            )
        return opened

    async def set_peer(self, peer: Peer) -> None:
        """Add a peer, or tell what has changed of it; its connections go on."""
        await self._do("peer", peer, Done)

    async def remove_peer(self, pid: int) -> None:
        """Forget a peer."""
        await self._do("remove", {"pid": pid}, Done)

    async def dial(self, pid: int, port: int, local: str = "127.0.0.1:0") -> str:
        """Let a local address stand for a port of a peer, and return it; mode userspace only."""
        asked = {"pid": pid, "port": port, "local": local}
        return (await self._do("dial", asked, Done)).local

    async def serve(self, port: int, local: str) -> None:
        """Let a port of this party stand for a local address; mode userspace only."""
        await self._do("serve", {"port": port, "local": local}, Done)

    async def gather(self) -> None:
        """Look again at which addresses this party may be reached."""
        await self._do("gather", {}, Done)

    async def report(self) -> Report:
        """Return the state of all tunnels."""
        return await self._do("report", {}, Report)

    async def until(self, holds: Callable[["Tunnel"], bool]) -> None:
        """Return once that holds of this tunnel; the caller sets the deadline."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._over is not None or holds(self))
        if self._over is not None:
            raise self._over

    async def _do(self, verb: str, asked: object, kind: type[Kind]) -> Kind:
        if self._over is not None:
            raise self._over
        number = next(iter(self._numbers))
        line = msgspec.json.encode({**msgspec.to_builtins(asked), "do": verb, "id": number})
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self.process.stdin.write(line + b"\n")
            async with asyncio.timeout(ANSWER_SECONDS):
                with contextlib.suppress(ConnectionError):  # what it has said tells more
                    await self.process.stdin.drain()
                answer = await waiting
        except TimeoutError as error:
            raise OverlayError(
                f"{PROGRAM} has not answered {verb} for {ANSWER_SECONDS} s"
            ) from error
        finally:
            del self._waiting[number]
        if isinstance(answer, Refused):
            raise OverlayError(f"{PROGRAM} refuses {verb}: {answer.message}")
        if not isinstance(answer, kind):
            raise OverlayError(f"{PROGRAM} answers {verb} by {type(answer).__name__}")
        return answer

    async def _read(self) -> None:
        over = OverlayError(f"{PROGRAM} has ended")
        try:
            while line := await self.process.stdout.readline():
                await self._take(DECODER.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            over = OverlayError(
                f"{PROGRAM}: {printable(line.decode(errors='replace'), LINE_LENGTH)}"
            )
        except ValueError:
            over = OverlayError(f"{PROGRAM} wrote a line of more than {LINE_BYTES} bytes")
        async with self._changed:
            self._over = over
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(over)
            self._changed.notify_all()

    async def _take(self, said: Answer | Event) -> None:
        if isinstance(said, Opened | Done | Refused | Report):
            waiting = self._waiting.get(said.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(said)
            return
        async with self._changed:
            match said:
                case Candidates():
                    self.candidates = said
                case PathChange(pid=pid, path=path):
                    others = {peer: it for peer, it in self.paths.items() if peer != pid}
                    self.paths = others if path is None else {**others, pid: path}
                case Up(pid=pid):
                    self.up |= {pid}
            self._changed.notify_all()


@asynccontextmanager
async def over(process: Running) -> AsyncIterator[Tunnel]:
    """Yield what drives a running program, whose end is its owner's task."""
    tunnel = Tunnel(process)
    async with beside(tunnel._read()):  # noqa: SLF001 - its own module
        yield tunnel


@asynccontextmanager
async def local(program: str = PROGRAM) -> AsyncIterator[Tunnel]:
    """Run the program on this machine, beside the block; ``program`` is its name or path."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "party",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            limit=LINE_BYTES,
            env={"PATH": os.environ.get("PATH", os.defpath)},
        )
    except OSError as error:
        raise OverlayError(f"{program} does not start ({error.strerror})") from error
    try:
        async with over(_Local(process)) as tunnel:
            yield tunnel
    finally:
        await _end(process)


@dataclass(frozen=True)
class _Local:
    """A subprocess, whose pipes exist."""

    process: asyncio.subprocess.Process

    @property
    def stdin(self) -> asyncio.StreamWriter:
        assert self.process.stdin is not None  # noqa: S101 - it was asked for
        return self.process.stdin

    @property
    def stdout(self) -> asyncio.StreamReader:
        assert self.process.stdout is not None  # noqa: S101 - it was asked for
        return self.process.stdout


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let the program end by the end of its input; kill it if it does not."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
    finally:  # also when this task is cancelled while it waits
        if process.returncode is None:
            process.kill()
            await process.wait()
