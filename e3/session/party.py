"""One party of a running session: ship it, start it, follow it and end it."""

import asyncio
import contextlib
import errno
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TextIO

from e3.errors import AuthorityError, HostError
from e3.interfaces import File, Host, Process
from e3.party.protocol import OWNED, START, STATE, Spec, encode, encode_spec, silence_seconds
from e3.remote.tasks import beside
from e3.remote.text import printable
from e3.session.certificates import Certificates
from e3.session.console import Typing
from e3.session.events import EventError, Incoming, most_bytes
from e3.session.record import Record
from e3.session.verdicts import How, describe

LEAVE_SECONDS = 4.0
"""For a runner to kill what it started and to end; it takes 2 s at most for the former."""

REMOVE = 'rm -rf "$1" 2>/dev/null || { chmod -R u+rwX "$1" 2>/dev/null; rm -rf "$1"; }'
"""A shell command; its second attempt restores rights that a program may have taken away."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of a full disk."""

PIECE_BYTES = 65_536
"""Read of a runner's output at once."""


class Party:
    """Runs one party on its host; `record` keeps what is known of it."""

    def __init__(
        self, record: Record, host: Host, spec: Spec, log: TextIO, clock: Callable[[], float]
    ) -> None:
        """``clock`` gives the seconds since the session began."""
        self.record = record
        self.certificates: Certificates | None = None
        """Certifies its key; only with MPyC's own TLS."""
        self.typing: Typing | None = None
        """Passes on what a person types, to this party alone."""
        self.loaded = asyncio.Event()
        """Its runner has said something, or ended without a word."""
        self._host = host
        self._spec = spec
        self._log = log
        self._clock = clock
        self._folder = f"/run/e3/sessions/{spec.session}"
        self._process: Process | None = None
        self._missed = False
        """Its runner has been silent for too long."""
        self._stopping = False

    async def attend(
        self,
        runner: Sequence[File],
        program: Sequence[File],
        inputs: Sequence[File],
        *,
        ship_seconds: float,
    ) -> None:
        """Run the party from shipping to its end; its record has an end then, whatever happens.

        ``inputs`` are this party's own. The files' paths are relative to the session's folder. The
        host must accept them within ``ship_seconds``. Leaves nothing on the host, also if this
        task is cancelled.
        """
        files = [
            File(path=f"{self._folder}/{file.path}", content=file.content, mode=file.mode)
            for file in (*runner, *program, *inputs)
        ]
        argv = [self._host.python, "-I", "-c", START, self._folder, STATE, OWNED]
        access = self._host.access
        try:
            await access.put(files, timeout_seconds=ship_seconds)
            self.record.phase = "starting the runner"
            if not self._stopping:
                async with access.attach(argv) as process:
                    if self.certificates is not None:  # while Python starts
                        self.record.phase = "making its key"
                        await self.certificates.issue(access, self._folder, self.record.seat.pid)
                        self.record.phase = "starting the runner"
                    await self._lead(process)
        except AuthorityError as error:
            self._finish("refused", detail=str(error))
        except HostError as error:
            # a host that reports an error of its own is not gone: its disk may be full
            cause = error.__cause__
            how: How = "refused" if isinstance(cause, OSError) else "gone"
            full = isinstance(cause, OSError) and cause.errno in FULL
            self._finish(how, f"the disk of its host is full: {error}" if full else str(error))
        except TimeoutError:
            self._miss()
        except OSError as error:
            self._finish("gone", detail=str(error))
        finally:
            self._finish("stopped")
            self._process = None
            self.loaded.set()
            await self._clean()
            self.record.output.close()
            self._log.close()

    def stop(self) -> None:
        """Stop the party at once; `attend` then returns soon."""
        self._stopping = True
        self._tell("stop")

    def beat(self) -> None:
        """Tell the runner that the deployer is alive."""
        self._tell("beat")

    def _tell(self, kind: str) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(encode(kind))

    async def _lead(self, process: Process) -> None:
        """Send the runner its spec and follow it; the runner ends when its input is closed."""
        private = ("[private]",) if self._spec.private else ()
        self._log.write(f"$ python {shlex.join(replace(self._spec, private=private).argv)}\n")
        if self._stopping:
            return  # the runner ends with its input, before it starts anything
        self._process = process
        try:
            with contextlib.suppress(OSError):  # it has ended: its output says why
                process.stdin.write(encode_spec(self._spec))
                await process.stdin.drain()
            async with contextlib.AsyncExitStack() as stack:
                if self.typing is not None:
                    await stack.enter_async_context(beside(self.typing.pass_on(process)))
                await self._follow(process)
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
            status: int | None = None
            with contextlib.suppress(TimeoutError, HostError):
                async with asyncio.timeout(0 if self._missed else LEAVE_SECONDS):
                    status = await process.wait()
            self.record.removed = self.record.removed and status == 0

    async def _follow(self, process: Process) -> None:
        incoming = Incoming(most_bytes(self._spec))
        most_seconds = silence_seconds(len(self._spec.parties))
        while self.record.end is None:
            try:
                async with asyncio.timeout(most_seconds):
                    data = await process.stdout.read(PIECE_BYTES)
            except TimeoutError:
                self._miss()  # at once: the runner takes seconds to end, and all others must stop
                return
            if not data:
                self._hear(incoming.rest())
                await self._explain(process)
                return
            try:
                for line in incoming.feed(data):
                    self._hear(line)
                    if self.record.end is not None:
                        return
            except EventError as error:
                self._log.write(self.record.garble(str(error), self._clock()))

    def _hear(self, line: bytes) -> None:
        if line:
            text = self.record.hear(line, self._clock())
            self._log.write(text)
            self.loaded.set()
            if self.typing is not None:
                self.typing.hear(line)
                self.typing.console.show(text)

    def _finish(self, how: How, detail: str = "") -> None:
        self._log.write(self.record.finish(how, self._clock(), detail))

    def _miss(self) -> None:
        self._missed = True
        self._finish("gone", detail=f"its host is silent while {self.record.phase}")

    async def _explain(self, process: Process) -> None:
        """Find out why the runner ended without an event."""
        async with asyncio.timeout(LEAVE_SECONDS):
            status = await process.wait()
        alive = await self._host.access.run(["true"], timeout_seconds=LEAVE_SECONDS)
        if alive.exit:
            raise HostError(f"host {self._host.name} runs no commands any more")
        how: How = "gone" if self.record.versions else "refused"
        complaint = f": {self.record.complaint}" if self.record.complaint else ""
        self._finish(how, detail=f"its runner {describe(status)}{complaint}")

    async def _clean(self) -> None:
        """Remove the session's folder unless the runner did; log it if that fails."""
        if self.record.removed:
            return
        argv = ["sh", "-c", REMOVE, "sh", self._folder]
        try:
            done = await self._host.access.run(argv, timeout_seconds=LEAVE_SECONDS)
        except HostError:  # with the host its folder is gone
            return
        except (TimeoutError, OSError) as error:
            complaint = str(error)
        else:
            complaint = done.complaint if done.exit else ""
        if complaint:
            left = f"{self._folder}: {printable(complaint)}"
            self.record.versions["left"] = left
            self._log.write(f"[e3: its folder stays, see `e3 doctor`: {left}]\n")
