"""The holders of a ceremony as their coordinator hears them: a program on each host, attached."""

import asyncio
import functools
import hashlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import Protocol

import msgspec

from e3.access.forks import Pipes, Template, loaded
from e3.access.ssh import RUN, STATE
from e3.authority.joint.messages import AnyAnswer, Ask
from e3.bytecode import bytecode
from e3.ceremonies.supplies import same_python, supplied
from e3.errors import HostError
from e3.interfaces import Enterable, File, Host, Process
from e3.remote.tasks import running
from e3.remote.text import printable

SHARES = f"{STATE}/authority"
CODE = f"{RUN}/authority"
E3 = Path(__file__).resolve().parents[1]
DID = (
    *("didcomm/__init__.py", "didcomm/errors.py", "didcomm/keys.py"),
    *("errors.py", "remote/__init__.py", "remote/text.py"),
)
PUT_SECONDS = 30.0
WHOLE = "whole"
"""A file that is written after all others of the program."""

ANSWER_SECONDS = 15.0
"""The most that a holder may take for one step."""

KEPT_BYTES = 4_000_000
"""Of what a holder was asked and answered, for the evidence."""

LOAD = (
    "import gc,sys;gc.disable();sys.path[:0]=sys.argv[1],sys.argv[3];"
    "sys.modules['typing_extensions']=None;import msgspec;del sys.modules['typing_extensions'];"
    "from e3.authority.joint.holder import main;gc.enable();"
)
"""Loads a holder, in half of the time that it would take otherwise.

While modules are read there is no garbage to look for. msgspec does without typing_extensions,
whose imports take longer than its own.
"""

START = f"{LOAD}main(sys.argv[2])"
SERVE = (
    f"{LOAD}from e3.remote.fork_server import serve;"
    "serve(int(sys.argv[4]),lambda:main(sys.argv[2]))"
)

_decoder: msgspec.json.Decoder[AnyAnswer] = msgspec.json.Decoder(AnyAnswer)


class Voice(Protocol):
    """One holder; ``name`` is that of its host."""

    @property
    def name(self) -> str:
        """The name of its host."""

    async def ask(self, request: Ask) -> AnyAnswer:
        """Return the answer; raise `HostError` or `TimeoutError` if there is none."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What a holder was asked, and what it answered, by kind and as lines; "" if it did not.

    ``began`` is a time of the monotonic clock. Of a long ceremony, later lines are not kept.
    """

    began: float
    seconds: float
    asked: str
    answered: str
    request: bytes
    answer: bytes


class HostVoice:
    """The holder's program on a host; ``exchanges`` are what was said until now."""

    def __init__(self, host: Host, process: Pipes | Process, seconds: float) -> None:
        """Speak with ``process``, which takes at most ``seconds`` for an answer."""
        self.name = host.name
        self.exchanges: list[Exchange] = []
        self._process, self._seconds = process, seconds
        self._silent = False
        self._said = b""
        self._kept = 0

    async def ask(self, request: Ask) -> AnyAnswer:
        """See `Voice`; who was silent once stays so, as it may answer an earlier question."""
        silent = f"host {self.name} is silent for {self._seconds:g} s"
        if self._silent:
            raise TimeoutError(silent)
        began, line, answered = time.monotonic(), msgspec.json.encode(request), ""
        self._said = b""
        try:
            async with asyncio.timeout(self._seconds):
                self._process.stdin.write(line + b"\n")
                await self._process.stdin.drain()
                answer = await self._answer()
                answered = _kind(answer)
                return answer
        except TimeoutError:
            self._silent = True
            raise TimeoutError(silent) from None
        except (BrokenPipeError, ConnectionResetError):
            raise HostError(f"the holder on host {self.name} has ended") from None
        finally:
            self._keep(began, request, line, answered)

    def _keep(self, began: float, request: Ask, line: bytes, answered: str) -> None:
        """Keep what was said, and its words as long as they are not too many."""
        self._kept += len(line) + len(self._said)
        whole = self._kept <= KEPT_BYTES
        self.exchanges.append(
            Exchange(
                began=began,
                seconds=time.monotonic() - began,
                asked=_kind(request),
                answered=answered,
                request=line if whole else b"",
                answer=self._said if whole else b"",
            )
        )

    async def _answer(self) -> AnyAnswer:
        said = b""
        try:
            while (line := await self._process.stdout.readline()) and not line.startswith(b"{"):
                said = (said + line)[-2000:]  # a login shell may print anything
            if line:
                self._said = line.rstrip(b"\n")
                return _decoder.decode(line)
        except (msgspec.MsgspecError, ValueError) as error:
            reason = printable(error, 100)
            raise HostError(f"the holder on {self.name} says what is no answer: {reason}") from None
        last = printable(said.decode(errors="replace").strip().rpartition("\n")[2], 200)
        raise HostError(f"the holder on host {self.name} has ended{': ' if last else ''}{last}")


def _kind(said: msgspec.Struct) -> str:
    return str(said.__struct_config__.tag)


@asynccontextmanager
async def attached(
    hosts: Sequence[Host], *, seconds: float = ANSWER_SECONDS
) -> AsyncIterator[tuple[dict[str, HostVoice], dict[str, str]]]:
    """Yield the holders on hosts that can be reached, and why the others cannot, by name.

    Their programs end with the context, and nonces with them.
    """
    voices: dict[str, HostVoice] = {}
    absent: dict[str, str] = {}
    ended = asyncio.Event()

    async def one(host: Host, opened: asyncio.Event) -> None:
        try:
            loaded_here = template if host.name in near else None
            async with _program(host, layers[host.name], loaded_here) as process:
                voices[host.name] = HostVoice(host, process, seconds)
                opened.set()
                await ended.wait()
        except (HostError, TimeoutError) as error:
            absent.setdefault(host.name, str(error))
        finally:
            opened.set()

    events = [asyncio.Event() for _ in hosts]
    near = [host.name for host in hosts if _has_our_processors(host)]
    async with (
        supplied(hosts) as layers,
        _template(layers[near[0]] if near else "") as template,
        running(map(one, hosts, events)) as tasks,
    ):
        for event in events:
            await event.wait()
        try:
            yield voices, absent
        finally:
            ended.set()
            if tasks:
                await asyncio.wait(tasks)


def _has_our_processors(host: Host) -> bool:
    """Whether a program can run on a host that was loaded here, by a Python like the host's.

    A slow host has a part of the processors, of which loading a program takes its time as well.
    """
    access = host.access
    return isinstance(access, Enterable) and not access.limited and same_python(host)


@asynccontextmanager
async def _template(packages: str) -> AsyncIterator[Template | None]:
    """Load the holder's program once for hosts of this machine; ``packages`` is empty for none."""
    if not packages:
        yield None
        return
    argv = [sys.executable, "-I", "-S", "-c", SERVE, str(E3.parent), SHARES, packages]
    async with loaded(argv) as template:
        yield template


@asynccontextmanager
async def _program(
    host: Host, layer: str, template: Template | None
) -> AsyncIterator[Pipes | Process]:
    """Run the holder's program on a host; ``layer`` has the packages that it needs there."""
    if template is not None and isinstance(host.access, Enterable):
        async with template.on(host.access) as pipes:
            yield pipes
        return
    await _bring_program(host)
    # -S: its packages are named here, so that it need not look for any
    argv = [host.python, "-I", "-S", "-c", START, code_folder(), SHARES, layer]
    async with host.access.attach(argv) as process:
        yield process


async def _bring_program(host: Host) -> None:
    """Ensure that a host has the holder's program, whole; mostly it has it from before."""
    whole = f"{code_folder()}/{WHOLE}"
    if whole not in await host.access.get([whole], timeout_seconds=PUT_SECONDS):
        files = [*holder_files(), File(path=whole, content=b"")]
        await host.access.put(files, timeout_seconds=PUT_SECONDS)


@functools.cache
def holder_files() -> tuple[File, ...]:
    """Return the holder's program as files for a host, each with its bytecode."""
    files = [File(path=f"{code_folder()}/e3/__init__.py", content=b"")]
    for source in _sources():
        place = f"{code_folder()}/e3/{source.relative_to(E3)}"
        files.append(File(path=place, content=source.read_bytes()))
        files.append(File(path=cache_from_source(place), content=bytecode(source)))
    return tuple(files)


@functools.cache
def code_folder() -> str:
    """Return where the program is on hosts: another place for another program."""
    known = b"".join(source.read_bytes() for source in _sources())
    return f"{CODE}/{hashlib.sha256(known).hexdigest()[:16]}"


def _sources() -> list[Path]:
    own = (
        E3 / "private.py",
        *(E3 / "authority" / name for name in ("__init__.py", "x509_builder.py")),
    )
    # for the issuer's DID
    did = (E3 / name for name in DID)
    return [*own, *did, *sorted((E3 / "authority" / "joint").rglob("*.py"))]
