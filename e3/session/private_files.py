"""The private files of a host, as the deployer works on them: inputs put there, outputs kept."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from e3.errors import HostError
from e3.interfaces import Host, Process
from e3.party.inputs import PUT
from e3.party.keeping import OUTPUTS
from e3.party.protocol import OWNED, STATE, Spec
from e3.remote.text import printable
from e3.session import events
from e3.session.events import EventError
from e3.session.outputs import PartyOutput

INPUTS, KEPT = f"{STATE}/{PUT}", f"{STATE}/{OUTPUTS}"
SILENCE_SECONDS = 60.0
PIECE_BYTES = 262_144

Name = Annotated[str, Meta(max_length=8192)]


class _Answer(msgspec.Struct, frozen=True, tag_field="e3"):
    pass


class _Done(_Answer, tag="done", frozen=True):
    pass


class _Failed(_Answer, tag="failed", frozen=True):
    reason: Name


class _Missing(_Answer, tag="missing", frozen=True):
    name: Name


class _Listed(_Answer, tag="listed", frozen=True):
    which: int
    name: Name
    size: int
    changed: float


class _Total(_Answer, tag="total", frozen=True):
    files: int


_Message = _Done | _Failed | _Missing | _Listed | _Total
_decoder: msgspec.json.Decoder[_Message] = msgspec.json.Decoder(_Message)


@dataclass(frozen=True, kw_only=True)
class StoredInput:
    """A private input on a host; ``owned`` says that its owner put it there, and E3 did not.

    ``changed`` is when its content changed, as a Unix time.
    """

    host: str
    name: str
    size: int
    changed: float
    owned: bool


class PrivateFiles:
    """The private files of one host; its verbs raise `HostError` or `TimeoutError`."""

    def __init__(self, host: Host) -> None:
        """Work on ``host``."""
        self._host = host

    async def put(self, name: str, source: Path) -> None:
        """Write a file as the input ``name`` there, whole or not at all.

        Raises `OSError` if it cannot be read.
        """
        with source.open("rb") as file:
            request = {"name": name, "size": os.fstat(file.fileno()).st_size}
            async with self._asked("put", [INPUTS], request) as process:
                # what ends early has answered why; if the host is gone, there is no answer
                with contextlib.suppress(BrokenPipeError, ConnectionResetError, HostError):
                    while piece := file.read(PIECE_BYTES):
                        process.stdin.write(piece)
                        async with asyncio.timeout(SILENCE_SECONDS):
                            await process.stdin.drain()
                await self._next(process)

    async def list(self) -> tuple[Sequence[StoredInput], int]:
        """Return the inputs there, and how many there are beyond those."""
        found = []
        async with self._asked("list", [INPUTS, OWNED], {}) as process:
            while isinstance(answer := await self._next(process), _Listed):
                found.append(
                    StoredInput(
                        host=self._host.name,
                        name=answer.name,
                        size=answer.size,
                        changed=answer.changed,
                        owned=bool(answer.which),
                    )
                )
        total = answer.files if isinstance(answer, _Total) else len(found)
        return found, total - len(found)

    async def remove(self, names: Sequence[str] | None) -> Sequence[str]:
        """Remove inputs that E3 put there, or all of them; return the names of which none was."""
        missing = []
        async with self._asked("remove", [INPUTS], {"names": names}) as process:
            while isinstance(answer := await self._next(process), _Missing):
                missing.append(answer.name)
        return missing

    async def remove_outputs(self, run: str) -> None:
        """Remove the private outputs of a run."""
        async with self._asked("remove", [f"{KEPT}/{run}"], {"names": None}) as process:
            await self._next(process)

    async def get_outputs(self, run: str, folder: Path, spec: Spec) -> PartyOutput | None:
        """Write the private outputs of a run to a folder; return None if the host has none."""
        output = PartyOutput(folder, spec)
        try:
            async with self._asked("send", [KEPT], {"name": run}) as process:
                while isinstance(answer := await self._file(process), events.Output):
                    output.take(answer)
        except EventError as error:
            raise HostError(f"host {self._host.name} sends what is no output: {error}") from None
        finally:
            output.close()
        return None if isinstance(answer, _Missing) else output

    async def _file(self, process: Process) -> events.Event | _Message:
        line = await self._line(process)
        if line.startswith((b'{"e3": "file"', b'{"e3": "piece"')) and (said := events.decode(line)):
            return said
        return self._decode(line)

    @asynccontextmanager
    async def _asked(
        self, verb: str, folders: Sequence[str], request: object
    ) -> AsyncIterator[Process]:
        source = (files("e3.remote") / "private_files.py").read_text()
        argv = [self._host.python, "-I", "-c", source, verb, *folders]
        async with self._host.access.attach(argv) as process:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            yield process

    async def _next(self, process: Process) -> _Message:
        return self._decode(await self._line(process))

    async def _line(self, process: Process) -> bytes:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                while (line := await process.stdout.readline()) and not line.startswith(b"{"):
                    pass  # a login shell may print anything
        except TimeoutError:
            raise TimeoutError(
                f"host {self._host.name} is silent for {SILENCE_SECONDS:g} s"
            ) from None
        except ValueError:
            line = b""
        if not line:
            raise HostError(f"host {self._host.name} ended before it had answered")
        return line

    def _decode(self, line: bytes) -> _Message:
        try:
            answer = _decoder.decode(line)
        except (msgspec.DecodeError, ValueError):
            said = printable(line.decode(errors="replace"), 60)
            raise HostError(f"host {self._host.name} answers what is no answer: {said}") from None
        if isinstance(answer, _Failed):
            raise HostError(f"host {self._host.name} refuses a file: {printable(answer.reason)}")
        return answer
