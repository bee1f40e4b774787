"""The holders of a ceremony as their coordinator hears them: a program on each host, attached."""

import asyncio
import functools
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import cache_from_source
from pathlib import Path
from typing import Protocol

import msgspec

from e3.access.ssh import RUN, STATE
from e3.authority.joint.messages import AnyAnswer, Ask
from e3.ceremonies.supplies import supplied
from e3.errors import HostError
from e3.interfaces import File, Host, Process
from e3.remote.tasks import running
from e3.remote.text import printable
from e3.session.runner_files import bytecode

SHARES = f"{STATE}/authority"
CODE = f"{RUN}/authority"
E3 = Path(__file__).resolve().parents[1]
DID = (
    *("didcomm/__init__.py", "didcomm/errors.py", "didcomm/keys.py"),
    *("errors.py", "remote/__init__.py", "remote/text.py"),
)
PUT_SECONDS = 30.0
ANSWER_SECONDS = 15.0
"""The most that a holder may take for one step."""

START = (
    "import sys;sys.path[:0]=filter(None,(sys.argv[1],sys.argv[3]));"
    "from e3.authority.joint.holder import main;main(sys.argv[2])"
)

_decoder: msgspec.json.Decoder[AnyAnswer] = msgspec.json.Decoder(AnyAnswer)


class Voice(Protocol):
    """One holder; ``name`` is that of its host."""

    @property
    def name(self) -> str:
        """The name of its host."""

    async def ask(self, request: Ask) -> AnyAnswer:
        """Return the answer; raise `HostError` or `TimeoutError` if there is none."""


class HostVoice:
    """The holder's program on a host."""

    def __init__(self, host: Host, process: Process, seconds: float) -> None:
        """Speak with ``process``, which takes at most ``seconds`` for an answer."""
        self.name = host.name
        self._process, self._seconds = process, seconds
        self._silent = False

    async def ask(self, request: Ask) -> AnyAnswer:
        """See `Voice`; who was silent once stays so, as it may answer an earlier question."""
        silent = f"host {self.name} is silent for {self._seconds:g} s"
        if self._silent:
            raise TimeoutError(silent)
        try:
            async with asyncio.timeout(self._seconds):
                self._process.stdin.write(msgspec.json.encode(request) + b"\n")
                await self._process.stdin.drain()
                return await self._answer()
        except TimeoutError:
            self._silent = True
            raise TimeoutError(silent) from None
        except (BrokenPipeError, ConnectionResetError):
            raise HostError(f"the holder on host {self.name} has ended") from None

    async def _answer(self) -> AnyAnswer:
        said = b""
        try:
            while (line := await self._process.stdout.readline()) and not line.startswith(b"{"):
                said = (said + line)[-2000:]  # a login shell may print anything
            if line:
                return _decoder.decode(line)
        except (msgspec.MsgspecError, ValueError) as error:
            reason = printable(error, 100)
            raise HostError(f"the holder on {self.name} says what is no answer: {reason}") from None
        last = printable(said.decode(errors="replace").strip().rpartition("\n")[2], 200)
        raise HostError(f"the holder on host {self.name} has ended{': ' if last else ''}{last}")


@asynccontextmanager
async def attached(
    hosts: Sequence[Host], *, seconds: float = ANSWER_SECONDS
) -> AsyncIterator[tuple[dict[str, Voice], dict[str, str]]]:
    """Yield the holders on hosts that can be reached, and why the others cannot, by name.

    Their programs end with the context, and nonces with them.
    """
    voices: dict[str, Voice] = {}
    absent: dict[str, str] = {}
    ended = asyncio.Event()

    async def one(host: Host, opened: asyncio.Event) -> None:
        try:
            await host.access.put(holder_files(), timeout_seconds=PUT_SECONDS)
            packages = layers.get(host.name, "")
            argv = [host.python, "-I", "-c", START, code_folder(), SHARES, packages]
            async with host.access.attach(argv) as process:
                voices[host.name] = HostVoice(host, process, seconds)
                opened.set()
                await ended.wait()
        except (HostError, TimeoutError) as error:
            absent.setdefault(host.name, str(error))
        finally:
            opened.set()

    events = [asyncio.Event() for _ in hosts]
    async with supplied(hosts) as layers, running(map(one, hosts, events)) as tasks:
        for event in events:
            await event.wait()
        try:
            yield voices, absent
        finally:
            ended.set()
            if tasks:
                await asyncio.wait(tasks)


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
