"""One party of a running session, as the deployer sees it."""

import asyncio
import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TextIO

from e3.errors import AuthorityError, HostError
from e3.interfaces import File, Host, Process
from e3.party.protocol import SILENCE_SECONDS, START, Spec, decode, encode, encode_spec
from e3.party.text import printable
from e3.session import agreement
from e3.session.certificates import Certificates
from e3.session.plan import Seat
from e3.session.progress import PHASES, WAITING, Progress, State
from e3.session.results import PartyResult
from e3.session.verdicts import End, How, describe
from e3.session.watchdog import Sight

LEAVE_SECONDS = 4.0
"""For a runner to kill what it started and to end; it takes 2 s at most for the former."""

RESULT_BYTES = 65_536
"""Of a party's output that becomes part of the result; the log has more."""

LOOP_STOPPED = "RuntimeError: Event loop stopped"


class Party:
    """Ships, starts, follows and ends one party; what it learns is in its attributes."""

    def __init__(  # noqa: PLR0913, PLR0917 -- what a party is made of
        self,
        seat: Seat,
        host: Host,
        spec: Spec,
        log: TextIO,
        clock: Callable[[], float],
        names: Mapping[int, str],
    ) -> None:
        """``clock`` gives the seconds since the session began, ``names`` the hosts by pid."""
        self.seat = seat
        self._names = names
        self.certificates: Certificates | None = None
        """Who certifies its key, with MPyC's own TLS."""
        self.end: End | None = None
        self.versions: dict[str, str] = {}
        self.connected_seconds: float | None = None
        """When all parties were connected to this one, since the session began."""
        self.served_seconds: float | None = None
        """When it had its last result: its last shutdown, or its end without one; as above."""
        self._ready_seconds: float | None = None
        self._connecting_seconds: float | None = None
        self._lost_seconds: float | None = None
        self._host = host
        self._spec = spec
        self._log = log
        self._clock = clock
        self._folder = f"/run/e3/sessions/{spec.session}"
        self._process: Process | None = None
        self._phase = "shipping the program"
        self._begun_seconds = 0.0
        """When the runner began to count, as well as that is known here: as its first word came."""
        self._seconds = 0.0
        self._ended_seconds: float | None = None
        """When it ended, since the session began."""
        self._sent_bytes: int | None = None
        self._sent_since_bytes = 0  # in the computation that goes on
        self._output: list[str] = []
        self._error = ""
        self._complaint = ""
        self._lost: list[int] = []
        self._accused: int | None = None
        self._about: tuple[int, ...] = ()
        self._removed = False
        self._missed = False
        """Its runner has said nothing for too long."""
        self._stopping = False

    @property
    def result(self) -> PartyResult:
        """What this party contributes to the session's result."""
        output = "".join(self._output)
        if len(output) > RESULT_BYTES:
            left_out = len(output) - RESULT_BYTES
            output = f"{output[:RESULT_BYTES]}\n[{left_out} characters left out, see the log]\n"
        return PartyResult(
            pid=self.seat.pid,
            host=self.seat.host,
            exit=None if self.end is None else self.end.exit,
            seconds=self._seconds,
            sent_bytes=self._sent_bytes,
            output=output,
        )

    @property
    def sight(self) -> Sight:
        """How far this party is."""
        return Sight(
            ready_seconds=self._ready_seconds,
            connecting_seconds=self._connecting_seconds,
            connected_seconds=self.connected_seconds,
            lost_seconds=self._lost_seconds,
            ended=self.end is not None,
        )

    @property
    def progress(self) -> Progress:
        """What can be seen of this party now."""
        state, phase = self._describe_state()
        printed = "".join(self._output[-3:]).rstrip()
        ended = self._ended_seconds
        return Progress(
            pid=self.seat.pid,
            host=self.seat.host,
            state=state,
            phase=phase,
            seconds=self._clock() if ended is None else ended,
            sent_bytes=((self._sent_bytes or 0) + self._sent_since_bytes) or self._sent_bytes,
            line=printed.rpartition("\n")[2],
        )

    async def attend(
        self, runner: Sequence[File], program: Sequence[File], *, ship_seconds: float
    ) -> None:
        """Run the party from shipping to its end; `end` is set then, whatever happened.

        The files' paths are relative to the session's folder, the host is to take them within
        ``ship_seconds``. Leaves nothing on the host,
        also when this task is cancelled.
        """
        files = [
            File(path=f"{self._folder}/{file.path}", content=file.content, mode=file.mode)
            for file in (*runner, *program)
        ]
        argv = [self._host.python, "-I", "-c", START, self._folder]
        access = self._host.access
        try:
            await access.put(files, timeout_seconds=ship_seconds)
            self._phase = "starting the runner"
            if not self._stopping:
                async with access.attach(argv) as process:
                    if self.certificates is not None:  # while Python starts
                        self._phase = "making its key"
                        await self.certificates.issue(access, self._folder, self.seat.pid)
                        self._phase = "starting the runner"
                    await self._lead(process)
        except AuthorityError as error:
            self._finish("refused", detail=str(error))
        except HostError as error:
            # a host that answers with an error of its own is there: its disk may be full
            how: How = "refused" if isinstance(error.__cause__, OSError) else "gone"
            self._finish(how, detail=str(error))
        except TimeoutError:
            self._miss()
        except OSError as error:
            self._finish("gone", detail=str(error))
        finally:
            self._finish("stopped")
            self._process = None
            await self._clean()
            self._log.close()

    def stop(self) -> None:
        """Have all of it end at once, and `attend` return soon."""
        self._stopping = True
        self._tell("stop")

    def beat(self) -> None:
        """Let the runner know that we are here."""
        self._tell("beat")

    def current_end(self, *, all_connected: bool) -> End:
        """Return how the party ended, or as what it would end now."""
        if self._phase in {PHASES["connected"], WAITING}:
            self._phase = PHASES["connected"] if all_connected else WAITING
        return self.end or self._make_end("stopped", detail=self._error)

    def _tell(self, kind: str) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(encode(kind))

    async def _lead(self, process: Process) -> None:
        """Give the runner its spec and follow it; it ends with our interest in it."""
        private = ("[private]",) if self._spec.private else ()
        self._log.write(f"$ python {shlex.join(replace(self._spec, private=private).argv)}\n")
        if self._stopping:
            return  # the runner ends with its input, before it starts anything
        self._process = process
        try:
            with contextlib.suppress(OSError):  # it has ended: its output says why
                process.stdin.write(encode_spec(self._spec))
                await process.stdin.drain()
            await self._follow(process)
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
            with contextlib.suppress(TimeoutError, HostError):
                async with asyncio.timeout(0 if self._missed else LEAVE_SECONDS):
                    await process.wait()

    async def _follow(self, process: Process) -> None:
        while self.end is None:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    line = await process.stdout.readline()
            except TimeoutError:
                self._miss()  # now: until it is gone takes seconds, and all others are to stop
                return
            if not line:
                await self._explain(process)
                return
            message = decode(line)
            if message is None:
                self._complaint = line.decode(errors="replace").strip() or self._complaint
                self._log.write(line.decode(errors="replace"))
            else:
                self._note(message)

    def _miss(self) -> None:
        self._missed = True
        self._finish("gone", detail=f"its host is silent while {self._phase}")

    async def _explain(self, process: Process) -> None:
        """Find out why the runner ended without a word."""
        async with asyncio.timeout(LEAVE_SECONDS):
            status = await process.wait()
        alive = await self._host.access.run(["true"], timeout_seconds=LEAVE_SECONDS)
        if alive.exit:
            raise HostError(f"host {self._host.name} runs no commands any more")
        how: How = "gone" if self.versions else "refused"
        complaint = f": {self._complaint}" if self._complaint else ""
        self._finish(how, detail=f"its runner {describe(status)}{complaint}")

    def _note(self, message: dict[str, Any]) -> None:
        """Take in one event of `e3.party.protocol`."""
        kind = message["e3"]
        self._phase = PHASES.get(kind, self._phase)
        take = getattr(self, f"_on_{kind}", None)
        at = float(message["at"])
        if kind == "ready":
            self._begun_seconds = self._clock() - at
        if take is not None:
            take(message, self._begun_seconds + at)

    def _on_output(self, message: dict[str, Any], _at: float) -> None:
        self._log.write(message["text"])
        if message["stream"] == "stdout":
            self._output.append(message["text"])
        elif message["stream"] == "stderr":
            self._complaint = message["text"].strip().rpartition("\n")[2] or self._complaint

    def _on_ready(self, message: dict[str, Any], _at: float) -> None:
        self.versions["python"] = message["python"]
        self._ready_seconds = self._begun_seconds

    def _on_confined(self, message: dict[str, Any], _at: float) -> None:
        notes = message["notes"]
        self.versions["confined"] = "; ".join(notes) if notes else "fully"
        for note in notes:
            self._log.write(f"[e3: the program is not fully confined: {note}]\n")

    def _on_bounded(self, message: dict[str, Any], _at: float) -> None:
        note = message["note"]
        self.versions["bounded"] = note or "by the kernel"
        if note:
            self._log.write(f"[e3: {note}]\n")

    def _on_connecting(self, _message: dict[str, Any], at: float) -> None:
        if self._connecting_seconds is None:
            self._connecting_seconds = at

    def _on_loaded(self, message: dict[str, Any], _at: float) -> None:
        self.versions["mpyc"] = message["version"]

    def _on_connected(self, _message: dict[str, Any], at: float) -> None:
        if self.connected_seconds is None:
            self.connected_seconds = at

    def _on_sent(self, message: dict[str, Any], _at: float) -> None:
        self._sent_since_bytes = message["total_bytes"]

    def _on_stopping(self, message: dict[str, Any], at: float) -> None:
        self._sent_bytes = sum(message["sent_bytes"]) + (self._sent_bytes or 0)
        self._sent_since_bytes = 0
        self.served_seconds = at

    def _on_stranger(self, message: dict[str, Any], _at: float) -> None:
        self._note_agreement({"strangers": {message["address"]: 1}})

    def _on_impostor(self, message: dict[str, Any], _at: float) -> None:
        reason = agreement.accuse(message["peer"], message["detail"], self.seat.pid, self._names)
        self._about = () if message["peer"] is None else (message["peer"],)
        self._finish("incompatible", detail=reason)

    def _on_lost(self, message: dict[str, Any], at: float) -> None:
        if not self._error:  # what is lost after an error is a consequence of it
            self._lost.append(message["peer"])
            if self._lost_seconds is None:
                self._lost_seconds = at

    def _on_offended(self, message: dict[str, Any], _at: float) -> None:
        self._accused = message["peer"]
        self._error = message["what"]

    def _on_failed(self, message: dict[str, Any], _at: float) -> None:
        self._error = self._error or message["error"]

    def _on_raised(self, message: dict[str, Any], _at: float) -> None:
        # MPyC stops the loop when a coroutine fails; the cause is what that met
        if not (self._error and message["error"].startswith(LOOP_STOPPED)):
            self._error = message["error"]

    def _on_refused(self, message: dict[str, Any], _at: float) -> None:
        self._removed = True
        self._finish("refused", detail=message["reason"])

    def _on_agreed(self, message: dict[str, Any], _at: float) -> None:
        self._note_agreement(message)
        if message["noted"]:
            noted = agreement.sentence(message["noted"], self._names)
            self._log.write(f"[e3: that may differ: {noted}]\n")

    def _on_disagreed(self, message: dict[str, Any], _at: float) -> None:
        self._removed = True
        self._note_agreement(message)
        how, reason = agreement.explain(message, self.seat.pid, self._names)
        self._about = agreement.about(message, self._names)
        self._finish(how, detail=reason)

    def _note_agreement(self, message: dict[str, Any]) -> None:
        for address, count in message["strangers"].items():
            times = "once" if count == 1 else f"{count} times"
            self._log.write(f"[e3: {address}, no party's address, was turned away {times}]\n")

    def _on_exited(self, message: dict[str, Any], at: float) -> None:
        self._removed = True
        self._seconds = message["seconds"]
        if self.served_seconds is None:
            self.served_seconds = at
        if message["strays"]:
            self._log.write(f"[e3: {message['strays']} processes left behind were killed]\n")
        if message["why"] == "flood":
            limit = f"{self._spec.flood_bytes // 1_000_000} MB"
            self._finish("flooded", detail=f"it printed more than {limit}; have it print less")
        elif message["why"] == "memory":
            limit = f"{self._spec.memory_bytes // 1_000_000} MB"
            self._finish("bloated", detail=f"its processes took more than {limit} together")
        elif message["why"] == "report":
            fault = printable(message["fault"])
            self._finish(
                "garbled", detail=f"its program told the runner what none may say: {fault}"
            )
        elif message["exit"] is None:
            self._finish("stopped")
        else:
            detail = self._error or self._complaint if message["exit"] else ""
            self._finish("exited", status=message["exit"], detail=detail)

    def _finish(self, how: How, *, status: int | None = None, detail: str = "") -> None:
        """Note how the party ended; only the first end counts."""
        if self.end is None:
            self.end = self._make_end(how, status=status, detail=detail)
            self._ended_seconds = self._clock()
            self._log.write(f"[e3: {self.end.reason}]\n")

    def _describe_state(self) -> tuple[State, str]:
        if self.end is None:
            return "going", self._phase
        if self.end.how == "stopped":
            return "stopped", "stopped"
        return ("failed", self.end.reason) if self.end.failed else ("done", "done")

    def _make_end(self, how: How, *, status: int | None = None, detail: str = "") -> End:
        return End(
            pid=self.seat.pid,
            host=self.seat.host,
            how=how,
            phase=self._phase,
            exit=status,
            detail=detail,
            lost=tuple(self._lost),
            accused=self._accused,
            about=self._about,
        )

    async def _clean(self) -> None:
        """Remove the session's folder, unless the runner did."""
        if not self._removed:
            with contextlib.suppress(HostError, TimeoutError, OSError):
                remove = ["rm", "-rf", self._folder]
                await self._host.access.run(remove, timeout_seconds=LEAVE_SECONDS)
