"""The conversation with `e3-tunnel`: numbered commands, their answers, and events in between."""

import asyncio
import contextlib
import itertools
import os
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from e3.errors import OverlayError
from e3.remote.tasks import beside
from e3.remote.text import LINE_LENGTH, printable
from e3.tunnel.messages import DECODER, LINE_BYTES, Answer, Done, Event, Opened, Refused, Report
from e3.tunnel.relay_messages import RelayOpened, RelayReport

PROGRAM = "e3-tunnel"
ANSWER_SECONDS = 20.0
END_SECONDS = 5.0

Said = Answer | RelayOpened | RelayReport
Kind = TypeVar("Kind", bound=Said)


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
    """A running `e3-tunnel`, here or on a host (`e3.interfaces.Process`)."""

    @property
    def stdin(self) -> Input:
        """What it reads."""

    @property
    def stdout(self) -> Output:
        """What it writes."""


@dataclass
class Conversation:
    """Commands and answers; ``changed`` is notified of each event, after ``hear`` has had it."""

    process: Running
    hear: Callable[[Event], None] = lambda _: None
    decoder: "msgspec.json.Decoder[Said | Event]" = DECODER
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    over: OverlayError | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _waiting: dict[int, "asyncio.Future[Said]"] = field(default_factory=dict)

    async def ask(self, verb: str, asked: object, kind: type[Kind]) -> Kind:
        """Return the answer to a command; raise `OverlayError` if it is refused or none comes."""
        if self.over is not None:
            raise self.over
        number = next(self._numbers)
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
                f"{PROGRAM} has not answered {verb} for {ANSWER_SECONDS:g} s"
            ) from error
        finally:
            del self._waiting[number]
        if isinstance(answer, Refused):
            raise OverlayError(f"{PROGRAM} refuses {verb}: {answer.message}")
        if not isinstance(answer, kind):
            raise OverlayError(f"{PROGRAM} answers {verb} by {type(answer).__name__}")
        return answer

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once that holds; the caller sets the deadline."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.over is not None or holds())
        if self.over is not None and not holds():
            raise self.over

    async def read(self) -> None:
        """Take what the program says until it ends or says what it must not."""
        over, line = OverlayError(f"{PROGRAM} has ended"), b""
        try:
            while line := await self.process.stdout.readline():
                await self._take(self.decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            said = printable(line.decode(errors="replace"), LINE_LENGTH)
            over = OverlayError(f"{PROGRAM}: {said}")
        except ValueError:
            over = OverlayError(f"{PROGRAM} wrote a line of more than {LINE_BYTES} bytes")
        async with self.changed:
            self.over = over
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(over)
            self.changed.notify_all()

    async def _take(self, said: Said | Event) -> None:
        if isinstance(said, Opened | Done | Refused | Report | RelayOpened | RelayReport):
            waiting = self._waiting.get(said.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(said)
            return
        async with self.changed:
            self.hear(said)
            self.changed.notify_all()


@asynccontextmanager
async def reading(conversation: Conversation) -> AsyncIterator[None]:
    """Take what the program says beside the block."""
    async with beside(conversation.read()):
        yield


@asynccontextmanager
async def started(program: str, verb: str) -> AsyncIterator[Running]:
    """Run the program on this machine; it ends with the block."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            verb,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            limit=LINE_BYTES,
            process_group=0,  # Ctrl-C in a terminal is for the caller, who ends this in order
            env={"PATH": search_path()},
        )
    except OSError as error:
        raise OverlayError(
            f"{program} does not start ({error.strerror}); `scripts/setup --sessions` builds it"
        ) from error
    try:
        yield _Local(process)
    finally:
        await _end(process)


def search_path() -> str:
    """Return where programs are found: PATH, and beside the Python that E3 was installed for."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")))


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
