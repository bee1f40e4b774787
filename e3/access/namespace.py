"""Hosts that are namespaces of this machine: nsenter(1) for commands, plain files for the rest."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from e3.access import rooted
from e3.access.environment import ENVIRONMENT, UMASK
from e3.access.identity import ProcessIdentity
from e3.access.services import S6Services
from e3.errors import HostError
from e3.interfaces import Completed, File, Process, Service
from e3.remote.processors import entrance
from e3.remote.tasks import in_thread, whole

NAMESPACES = ("ipc", "uts", "net", "pid", "mnt")
"""As the kernel names them; the last one decides which files later ones would be."""

LINE_BYTES = 1_000_000
GRACE_SECONDS = 1.5
SIGNALLED = 128  # tini and shells report a signal n as 128 + n
LAST_SIGNAL = 64

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class NamespaceAccess:
    """Access to the host whose first process is ``pid``, started at ``started`` of boot ``boot``.

    ``in_user_namespace`` is true for a lab that an ordinary user runs. There the host has only
    one user: files and commands are root's, whatever owner is asked for.
    """

    host: str
    pid: int
    started: int
    boot: str
    in_user_namespace: bool = False

    def alive(self) -> bool:
        """Return whether the host that this access was made for still runs."""
        return ProcessIdentity(pid=self.pid, started=self.started, boot=self.boot).alive()

    def nsenter(self) -> list[str]:
        """Return the start of a command line that runs the rest of it on the host."""
        user = ["-U", "--preserve-credentials"] if self.in_user_namespace else []
        return ["nsenter", "-t", str(self.pid), *user, "-m", "-u", "-i", "-n", "-p"]

    @property
    def limited(self) -> bool:
        """Whether what enters the host gets a part of the processors alone."""
        return bool(self._joined())

    def _joined(self) -> str:
        """Return the file by which processes join those of a slow host; else empty."""
        return entrance(Path("/proc", str(self.pid)))

    @contextmanager
    def namespaces(self) -> Iterator[Sequence[int]]:
        """Hold the host's namespaces open; see `e3.interfaces.Enterable`."""
        opened: list[int] = []
        try:
            self._open_namespaces(opened)
            yield opened
        finally:
            for each in opened:
                os.close(each)

    def _open_namespaces(self, opened: list[int]) -> None:
        self._require()
        try:
            for kind in ("user", *NAMESPACES) if self.in_user_namespace else NAMESPACES:
                descriptor = os.open(f"/proc/{self.pid}/ns/{kind}", os.O_RDONLY)
                opened.append(descriptor)
        except OSError as error:
            self._require()
            reason = f"{error.filename}: {error.strerror}"
            raise HostError(f"host {self.host} cannot be entered: {reason}") from error
        self._require()  # it ran before and after, so these are its own

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float
    ) -> Completed:
        """Run a command to its end; kill it with its process group after the limit."""
        self._require()
        process = await self._spawn([*self.nsenter(), "--", *argv], asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(timeout_seconds):
                stdout, stderr = await process.communicate(stdin)
        except TimeoutError:
            raise TimeoutError(
                f"{argv[0]} on host {self.host} took longer than {timeout_seconds:g} s"
            ) from None
        finally:
            await _kill(process)
        assert process.returncode is not None  # noqa: S101 - communicate has waited for it
        if process.returncode:
            self._require()  # nsenter also fails if the host has died meanwhile
        return Completed(exit=process.returncode, stdout=stdout, stderr=stderr)

    async def put(self, files: Sequence[File], *, timeout_seconds: float) -> frozenset[str]:
        """Write each file atomically through the host's root folder; return what changed."""

        def write(root: int) -> frozenset[str]:
            return frozenset(
                file.path
                for file in files
                if rooted.write(
                    root, file.path, file.content, mode=file.mode, owner=self._owner(file)
                )
            )

        return await self._with_root(write, timeout_seconds)

    async def get(self, paths: Sequence[str], *, timeout_seconds: float) -> Mapping[str, bytes]:
        """Return the content of each path that exists."""

        def read(root: int) -> dict[str, bytes]:
            found = {}
            for path in paths:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    found[path] = rooted.read(root, path)
            return found

        return await self._with_root(read, timeout_seconds)

    async def start(self, service: Service, *, timeout_seconds: float) -> None:
        """Ensure that the host's s6 runs the service as described; return once it is ready."""
        with self._root() as root:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._services(root).start(service)
            except TimeoutError:
                raise TimeoutError(
                    f"service {service.name} on host {self.host} is not ready after"
                    f" {timeout_seconds:g} s; its log is /var/log/{service.name}/current there"
                ) from None

    async def stop(self, name: str, *, timeout_seconds: float) -> None:
        """Stop and remove the service; do nothing if it does not exist."""
        with self._root() as root:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._services(root).stop(name)
            except TimeoutError:
                raise TimeoutError(
                    f"service {name} on host {self.host} did not stop within {timeout_seconds:g} s"
                ) from None

    @asynccontextmanager
    async def attach(self, argv: Sequence[str]) -> AsyncIterator[Process]:
        """Start a command; it and all that it started are killed when the context ends.

        The command gets its own process namespace on the host, whose first process is tini.
        So processes that have left its process group or become daemons are killed, too.
        """
        self._require()
        pid_namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "tini", "--"]
        # merged in there: what unshare and tini say about being killed is not the command's
        merged = ["sh", "-c", 'exec "$@" 2>&1', "sh", *argv]
        command = [*self.nsenter(), "--", *pid_namespace, *merged]
        process = await self._spawn(command, asyncio.subprocess.DEVNULL)
        try:
            yield _Attached(process)
        finally:
            try:
                await _end(process)
            finally:
                _kill_group(process)  # also if we are cancelled again while it ends

    async def _spawn(self, argv: Sequence[str], stderr: int) -> asyncio.subprocess.Process:
        if joined := self._joined():  # a slow host: what enters it is, too
            argv = ["sh", "-c", 'echo $$ >"$1" && shift && exec "$@"', "sh", joined, *argv]
        # asyncio itself would kill nsenter alone when we are cancelled, and wait for ever for the
        # pipes that its child holds (CPython 3.11, base_subprocess.py)
        return await whole(
            asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env=ENVIRONMENT,
                cwd="/",
                umask=UMASK,
                limit=LINE_BYTES,
                start_new_session=True,  # a group to be killed as one; no Ctrl-C from our terminal
            ),
            undo=_kill,
        )

    def _services(self, root: int) -> S6Services:
        return S6Services(self.host, root, self._check, self._kill_remote_group)

    async def _check(self, argv: Sequence[str]) -> bool:
        return (await self.run(argv, timeout_seconds=60)).exit == 0

    async def _kill_remote_group(self, group: int) -> None:
        await self.run(["kill", "-KILL", "--", f"-{group}"], timeout_seconds=10)

    async def _with_root(self, work: Callable[[int], T], timeout_seconds: float) -> T:
        with self._root() as root:
            try:
                async with asyncio.timeout(timeout_seconds):
                    return await in_thread(work, root)
            except TimeoutError:
                raise TimeoutError(
                    f"files of host {self.host} took longer than {timeout_seconds:g} s"
                ) from None
            except OSError as error:
                self._require()
                reason = f"{error.filename}: {error.strerror}"
                raise HostError(f"host {self.host} refuses a file: {reason}") from error

    @contextmanager
    def _root(self) -> Iterator[int]:
        """Hold the host's root folder open."""
        self._require()
        try:
            root = os.open(f"/proc/{self.pid}/root", os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            self._require()
            raise HostError(f"host {self.host} shows no files: {error.strerror}") from error
        try:
            self._require()  # it ran before and after, so what was opened is its root
            yield root
        finally:
            os.close(root)

    def _owner(self, file: File) -> tuple[int, int] | None:
        if self.in_user_namespace:
            return None
        import pwd  # noqa: PLC0415 - Windows, where people may read invitations, has none

        try:
            user = pwd.getpwnam(file.owner)  # hosts have this machine's users
        except KeyError:
            raise HostError(
                f"host {self.host} has no user {file.owner!r}, asked for as owner of {file.path}"
            ) from None
        return user.pw_uid, user.pw_gid

    def _require(self) -> None:
        if not self.alive():
            raise HostError(
                f"host {self.host} is gone; `pulumi refresh` and `pulumi up` make it anew"
            )


@dataclass(frozen=True)
class _Attached:
    """An attached command as `e3.interfaces.Process`."""

    inner: asyncio.subprocess.Process

    @property
    def stdin(self) -> asyncio.StreamWriter:
        assert self.inner.stdin is not None  # noqa: S101 - it was asked for as a pipe
        return self.inner.stdin

    @property
    def stdout(self) -> asyncio.StreamReader:
        assert self.inner.stdout is not None  # noqa: S101 - it was asked for as a pipe
        return self.inner.stdout

    async def wait(self) -> int:
        status = await self.inner.wait()
        signalled = SIGNALLED < status <= SIGNALLED + LAST_SIGNAL
        return SIGNALLED - status if signalled else status


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close the command's input, give it a moment to end by itself, then kill what is left."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE_SECONDS):
            await _drain(process)  # a full pipe would keep the command from ending
            await process.wait()
    if process.returncode is None and (first := _first_in_namespace(process.pid)) is not None:
        # the first process of a PID namespace ends after all others there; then nsenter and
        # unshare, which wait for it, end
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            os.kill(first, signal.SIGKILL)
            async with asyncio.timeout(GRACE_SECONDS):
                await process.wait()
    await _kill(process)


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read what the command still writes, unless another task of the caller does so."""
    with contextlib.suppress(RuntimeError):
        while process.stdout is not None and await process.stdout.read(LINE_BYTES):
            pass


def _first_in_namespace(nsenter: int) -> int | None:
    """Return the process that nsenter's child, unshare, has forked; None if there is none yet."""
    pid = nsenter
    for _ in range(2):
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:  # it ended, or a kernel without this file
            return None
        if not children:
            return None
        pid = int(children[0])
    return pid


def _kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill the command's group; its id is that of its leader, nsenter."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the command's group and wait until it has ended."""
    if process.returncode is None:
        _kill_group(process)
        await process.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await _drain(process)  # until the last of the group has closed the pipe
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()  # else pipes held open by a stray child keep the transport until exit
