"""Hosts that are reached by SSH: any machine with a Python, whatever its distribution.

Each verb is a module of `e3.remote` that travels with the call; `e3.access.connections`
holds the connections.
"""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from e3.access import answers, remote_call
from e3.access.answers import Answer
from e3.access.environment import ENVIRONMENT
from e3.errors import HostError, ServiceError
from e3.interfaces import Completed, File, Process, Service
from e3.remote import framing
from e3.remote.tasks import beside
from e3.remote.text import printable

if TYPE_CHECKING:
    from e3.access.connections import SshProcess, SshTarget

ATTACH_SECONDS = 60.0
GRACE_SECONDS = 2.0
NO_SUCH_COMMAND = 127
RUN, STATE = "/run/e3", "/var/lib/e3"
"""Where E3 keeps its files on a host: until the next boot, and permanently."""

OWNED = "/var/lib/e3-inputs"
"""Where a host's owner puts private inputs; beside `SshAccess.own` if E3 is not root there."""

SERVICES = f"{RUN}/services"
PROGRAMS = (f"{RUN}/sessions/", f"{RUN}/authority/")
"""Where programs are, which are never rewritten: parties compare digests, and there is bytecode."""

ServiceManager = Literal["systemd", "supervisor"]


@dataclass(frozen=True, kw_only=True)
class SshAccess:
    """Access to the machine at ``address``, an alias where ``ssh_config`` names a file.

    ``key`` is the path of a private key, ``host_key`` the server's public one as in a
    known_hosts file. Either may be empty with an ``ssh_config``, whose own files are then used.
    ``port`` 0 means the port in it. ``sudo`` runs everything as root. Without it, for a
    user other than root, all files are that user's, and the folder ``own`` holds what would be in
    /run/e3 and /var/lib/e3. ``python`` runs E3's side of each call there (3.11 or newer). ``boot``
    names the boot for which this access was made, where that is known: services do not outlive it.
    """

    host: str
    address: str
    port: int = 22
    user: str = "root"
    key: str = ""
    host_key: str = ""
    ssh_config: str = ""
    sudo: bool = False
    services: ServiceManager = "supervisor"
    python: str = "python3"
    own: str = ""
    boot: str = ""

    @property
    def rights(self) -> bool:
        """Whether commands run as root."""
        return self.sudo or self.user == "root"

    def place(self, text: str) -> str:
        """Return a path or argument for this host: without root, E3's folders are below `own`."""
        if self.own:
            for shared, folder in ((RUN, "run"), (STATE, "state")):
                if text == shared or text.startswith(f"{shared}/"):
                    return f"{self.own}/{folder}{text.removeprefix(shared)}"
            if text == OWNED:
                return f"{self.own}-inputs"
        return text

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float
    ) -> Completed:
        """Run a command to its end; kill it with all that it started after the limit."""
        request = self._command(argv, merge=False, pid_namespace=False)
        late = f"{argv[0]} on host {self.host} took longer than {timeout_seconds:g} s"
        async with (
            self._within(timeout_seconds, late),
            self._call("command", "main", request) as it,
        ):
            with contextlib.suppress(BrokenPipeError):  # it has ended without reading its input
                if stdin:
                    it.stdin.write(framing.frame(stdin))
                it.stdin.write(framing.sign(framing.END))
            async with _sending_keepalives(it):
                stdout, stderr = await answers.read_all(self.host, it)
                return Completed(exit=await self._status(it), stdout=stdout, stderr=stderr)

    async def shell(self, script: str, *, timeout_seconds: float) -> Completed:
        """Run a POSIX shell script without Python and without sudo."""
        from e3.access import connections  # noqa: PLC0415 -- as in _call

        command = remote_call.command_line(["sh", "-c", script], sudo=False)
        late = f"host {self.host} does not answer within {timeout_seconds:g} s"
        async with (
            self._within(timeout_seconds, late),
            connections.open_process(self.target, command) as it,
        ):
            stdout, stderr = await answers.read_all(self.host, it)
            return Completed(exit=await self._status(it), stdout=stdout, stderr=stderr)

    async def put(self, files: Sequence[File], *, timeout_seconds: float) -> frozenset[str]:
        """Write each file atomically; only what differs is sent."""
        contents = [self._content(file) for file in files]
        known = [
            {
                "path": self.place(file.path),
                "mode": file.mode,
                "owner": file.owner,
                "size": len(content),
                "digest": hashlib.sha256(content).hexdigest(),
            }
            for file, content in zip(files, contents, strict=True)
        ]
        request = {"files": known, "plain": not self.rights}
        late = f"files of host {self.host} took longer than {timeout_seconds:g} s"
        async with self._within(timeout_seconds, late), self._call("files", "put", request) as it:
            wanted = (await self._answer(it, answers.Wanted)).wanted
            answers.check_wanted(self.host, wanted, len(contents))
            for i in wanted:
                if contents[i]:
                    it.stdin.write(framing.frame(contents[i]))
                    await it.stdin.drain()
            await self._answer(it, answers.Done)
            return frozenset(files[i].path for i in wanted)

    async def get(self, paths: Sequence[str], *, timeout_seconds: float) -> Mapping[str, bytes]:
        """Return the content of each path that exists."""
        places = {self.place(path): path for path in paths}
        late = f"files of host {self.host} took longer than {timeout_seconds:g} s"
        request = {"paths": list(places)}
        async with self._within(timeout_seconds, late), self._call("files", "get", request) as it:
            sizes = (await self._answer(it, answers.Sizes)).sizes
            answers.check_sizes(self.host, sizes, places)
            return {places[p]: await it.stdout.readexactly(n) for p, n in sizes.items()}

    async def start(self, service: Service, *, timeout_seconds: float) -> None:
        """Ensure that systemd or E3's supervisor runs the service as described and ready."""
        known = {
            "name": service.name,
            "argv": [self.place(word) for word in service.argv],
            "environment": {k: self.place(v) for k, v in service.environment.items()},
            "ready": [self.place(word) for word in service.ready],
            "revision": service.revision,
            "reload": service.reload_signal,
            "restart_on": service.restart_on,
        }
        request = {
            "service": known,
            "environment": self._environment,
            **self._managed(service.name),
        }
        late = (
            f"service {service.name} on host {self.host} is not ready after {timeout_seconds:g} s; "
            f"its log is {self._log(service.name)} there"
        )
        async with (
            self._within(timeout_seconds, late),
            self._call("services", "start", request) as it,
        ):
            answer = await self._answer(it, answers.Ended)
        if answer.died:
            lines = "\n".join(map(printable, answer.lines))
            said = f"; its last lines:\n{lines}" if lines else "; it wrote nothing"
            raise ServiceError(
                f"service {service.name} on host {self.host} died ({printable(answer.died)}){said}"
            )

    async def stop(self, name: str, *, timeout_seconds: float) -> None:
        """Stop and remove the service; do nothing if it does not exist."""
        request = {"name": name, **self._managed(name)}
        late = f"service {name} on host {self.host} did not stop within {timeout_seconds:g} s"
        async with (
            self._within(timeout_seconds, late),
            self._call("services", "stop", request) as it,
        ):
            await self._answer(it, answers.Done)

    @asynccontextmanager
    async def attach(self, argv: Sequence[str]) -> AsyncIterator[Process]:
        """Start a command; it and all that it started are killed when the context ends.

        They are killed as well when this side ends or is disconnected: at once if the host
        notices, otherwise after a minute of silence.
        """
        request = self._command(argv, merge=True, pid_namespace=True)
        async with contextlib.AsyncExitStack() as stack:
            late = f"host {self.host} did not start {argv[0]} within {ATTACH_SECONDS:g} s"
            async with self._within(ATTACH_SECONDS, late):
                it = await stack.enter_async_context(self._call("command", "main", request))
            attached = _AttachedCommand(self, it)
            async with _sending_keepalives(it):
                try:
                    yield attached
                finally:
                    await attached.end()

    @asynccontextmanager
    async def _call(
        self, part: str, verb: str, request: Mapping[str, Any]
    ) -> "AsyncIterator[SshProcess]":
        from e3.access import connections  # noqa: PLC0415 -- asyncssh is slow to load; labs need none

        call = remote_call.call(part, verb, request, python=self.python, sudo=self.sudo)
        async with connections.open_process(self.target, call.command) as it:
            with contextlib.suppress(BrokenPipeError):  # it has ended: its output says why
                it.stdin.write(call.stdin)
            try:
                await it.stdout.readuntil(framing.MARK)
            except asyncio.IncompleteReadError:
                raise HostError(await self._explain(it)) from None
            yield it

    async def ask(
        self,
        part: str,
        verb: str,
        request: Mapping[str, Any],
        kind: type[Answer],
        *,
        timeout_seconds: float,
    ) -> Answer:
        """Return the one-line answer of a verb of `e3.remote`, which must be of that form."""
        late = f"host {self.host} does not answer within {timeout_seconds:g} s"
        async with self._within(timeout_seconds, late), self._call(part, verb, request) as it:
            return await self._answer(it, kind)

    @property
    def target(self) -> "SshTarget":
        """What a connection depends on."""
        from e3.access.connections import SshTarget  # noqa: PLC0415 -- as in _call

        return SshTarget(**{field.name: getattr(self, field.name) for field in fields(SshTarget)})

    def _content(self, file: File) -> bytes:
        """Return a file's content; in E3's own files, replace its folders by those of this host."""
        ours = file.path.startswith((f"{RUN}/", f"{STATE}/")) and not file.path.startswith(PROGRAMS)
        if not (self.own and ours):
            return file.content
        shared = {path.encode(): self.place(path).encode() for path in (RUN, STATE)}
        # whole names only: /run/e3x is another folder
        pattern = rb"(?:%s)(?![\w.-])" % b"|".join(map(re.escape, shared))
        return re.sub(pattern, lambda found: shared[found[0]], file.content)

    def _command(self, argv: Sequence[str], *, merge: bool, pid_namespace: bool) -> dict[str, Any]:
        return {
            "argv": [self.place(word) for word in argv],
            "environment": self._environment,
            "merge": merge,
            "pid_namespace": pid_namespace,
            "patience": framing.SILENCE_SECONDS,
        }

    @property
    def _environment(self) -> dict[str, str | None]:
        """The environment of a command; None stands for the login's own value."""
        home = {} if self.rights else {"HOME": None}
        return {**ENVIRONMENT, "PATH": remote_call.PATH, **home}

    def _managed(self, name: str) -> dict[str, str]:
        return {"folder": self.place(f"{SERVICES}/{name}"), "manager": self.services}

    def _log(self, name: str) -> str:
        if self.services == "systemd":
            return f"in the journal (journalctl -u e3-{name})"
        return self.place(f"{SERVICES}/{name}/log")

    @asynccontextmanager
    async def _within(self, seconds: float, late: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise TimeoutError(late) from None

    async def _status(self, it: "SshProcess") -> int:
        await it.wait_closed()
        if it.returncode is None:
            raise HostError(f"the connection to host {self.host} was cut")
        return it.returncode

    async def _answer(self, it: "SshProcess", kind: type[Answer]) -> Answer:
        line = await answers.read_line(self.host, it.stdout)
        if not line.endswith(b"\n"):
            said = (await it.stderr.read()).decode(errors="replace").strip()
            raise HostError(f"host {self.host} did not do what it should: {said or 'no answer'}")
        return answers.decode(self.host, line, kind)

    async def _explain(self, it: "SshProcess") -> str:
        """Return why a call did not start."""
        said = (await it.stderr.read()).decode(errors="replace").strip()
        status = await self._status(it)
        last = said.rpartition("\n")[2]
        if status == NO_SUCH_COMMAND:
            return (
                f"host {self.host} has no program {self.python}"
                f"{' or sudo' if self.sudo else ''}; install Python 3.11 or newer there"
            )
        if self.sudo and "sudo" in said:
            return (
                f"host {self.host} does not let user {self.user} become root without a password "
                f"({last}); permit that (sudoers: NOPASSWD), or set sudo: false"
            )
        return f"host {self.host} runs no commands: {last or f'exit status {status}'}"


@asynccontextmanager
async def _sending_keepalives(it: "SshProcess") -> AsyncIterator[None]:
    """Send keepalives to the host until the context or the connection ends."""

    async def send() -> None:
        with contextlib.suppress(OSError):
            while True:
                await asyncio.sleep(framing.BEAT_SECONDS)
                it.stdin.write(framing.sign(framing.BEAT))

    async with beside(send()):
        yield


class _AttachedCommand:
    """A attached command as `e3.interfaces.Process`; it is its own writer and reader."""

    def __init__(self, access: SshAccess, it: "SshProcess") -> None:
        self._access = access
        self._it = it
        self._closed = False

    @property
    def stdin(self) -> "_AttachedCommand":
        return self

    @property
    def stdout(self) -> "_AttachedCommand":
        return self

    def write(self, data: bytes) -> None:
        if self._closed:
            raise BrokenPipeError(f"the input of a command on host {self._access.host} is closed")
        if data:
            self._it.stdin.write(framing.frame(data))

    async def drain(self) -> None:
        with self._lost():
            await self._it.stdin.drain()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):
                self._it.stdin.write(framing.sign(framing.END))

    async def readline(self) -> bytes:
        with self._lost():
            line: bytes = await self._it.stdout.readline()
            return line

    async def read(self, most: int, /) -> bytes:
        with self._lost():
            data: bytes = await self._it.stdout.read(most)
            return data

    async def wait(self) -> int:
        return await self._access._status(self._it)  # noqa: SLF001 -- a part of it

    async def end(self) -> None:
        """Close the command's input and give it a moment to end by itself."""
        self.close()
        with contextlib.suppress(TimeoutError, HostError, RuntimeError):
            async with asyncio.timeout(GRACE_SECONDS):
                with self._lost():
                    while await self._it.stdout.read(framing.PIECE_BYTES):
                        pass  # a full pipe would keep the command from ending
                await self.wait()

    @contextlib.contextmanager
    def _lost(self) -> Iterator[None]:
        from e3.access.connections import as_host_errors  # noqa: PLC0415 -- as in SshAccess._call

        with as_host_errors(self._access.host):
            yield
