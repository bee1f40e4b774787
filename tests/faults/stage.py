"""A stage for faults: three hosts of a lab on which one fault happens at a chosen moment."""

import asyncio
import shlex
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from e3.experiment import Rules
from e3.interfaces import Access, Authority, Completed, File, Host, Process, Service
from e3.lab.client import Lab
from e3.session.plan import Plan, plan
from e3.session.programs import load
from e3.session.progress import NullObserver, PartyProgress
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from tests.overlays import ask, processes
from tests.sessions import lean
from tests.shipped import runner_changed

DEMOS = Path(__file__).parents[2] / "demos"
PROMISE_SECONDS = 30.0
"""The longest time from when a failure is visible until its verdict."""

STOP_SECONDS = 2.0
"""The longest time from the first failure until no process of any party runs on any host."""

LONG_STOP_SECONDS = 5.0
"""The same if no program runs yet, or a runner hangs and its party is killed from outside."""

Moment = Callable[[Sequence[PartyProgress], str], bool]
"""Decides whether the moment has come, from the parties' progress and their logs."""


@dataclass(frozen=True)
class Meddled:
    """An access to a host that changes files before it puts them there."""

    inner: Access
    change: Callable[[File], File]

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float
    ) -> Completed:
        return await self.inner.run(argv, stdin=stdin, timeout_seconds=timeout_seconds)

    async def put(self, files: Sequence[File], *, timeout_seconds: float) -> frozenset[str]:
        changed = [self.change(file) for file in files]
        return await self.inner.put(changed, timeout_seconds=timeout_seconds)

    async def get(self, paths: Sequence[str], *, timeout_seconds: float) -> Mapping[str, bytes]:
        return await self.inner.get(paths, timeout_seconds=timeout_seconds)

    async def start(self, service: Service, *, timeout_seconds: float) -> None:
        await self.inner.start(service, timeout_seconds=timeout_seconds)

    async def stop(self, name: str, *, timeout_seconds: float) -> None:
        await self.inner.stop(name, timeout_seconds=timeout_seconds)

    @asynccontextmanager
    async def attach(self, argv: Sequence[str]) -> AsyncIterator[Process]:
        async with self.inner.attach(argv) as process:
            yield process


@dataclass
class Stage:
    """Hosts of a lab that are joined, a folder for programs and evidence, and a fault to come."""

    folder: Path
    lab: Lab
    hosts: list[Host]
    addresses: Mapping[str, str]
    overlay: str
    rules: Rules = field(default_factory=Rules)
    authority: Authority | None = None
    """If it is set, MPyC's own TLS is used."""
    deadline_seconds: float = 100.0
    known: frozenset[str] = frozenset()
    """Folders of other sessions, which stay."""
    seconds: float = 0.0
    """From when the fault was visible to the end of the session."""
    stop_seconds: float = 0.0
    """From the first party's failure or stop until nothing was left of any party."""
    shown_seconds: float = 0.0
    """When the fault became visible, by the monotonic clock."""
    _private: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def write(self, text: str) -> Path:
        path = self.folder / "program.py"
        path.write_text(lean(text))
        return path

    def tell(self, pid: int, *args: str) -> None:
        """Give one party arguments of its own."""
        self._private[pid] = args

    def tamper(self, pid: int, old: str, new: str, *, below: str = "program") -> None:
        """Replace a text in the program of one party, or in other files that are shipped to it."""

        def change(file: File) -> File:
            if below == "runner":
                return runner_changed(file, old, new)
            if f"/{below}/" not in file.path:
                return file
            return replace(file, content=file.content.replace(old.encode(), new.encode()))

        self.hosts[pid] = replace(self.hosts[pid], access=Meddled(self.hosts[pid].access, change))

    def start_through(self, pid: int, *lines: str) -> None:
        """Start one party's runner by a script of these lines; ``"$@"`` is its command."""
        host = self.hosts[pid]
        text = "\n".join(["#!/bin/sh", f'set -- {shlex.quote(host.python)} "$@"', *lines, ""])
        script = File(path="/run/x/python", content=text.encode(), mode=0o755)
        asyncio.run(host.access.put([script], timeout_seconds=60))
        self.hosts[pid] = replace(host, python=script.path)

    def plan(self, program: Path, *args: str, entry: str = "") -> Plan:
        made = plan(
            hosts=self.hosts,
            addresses=self.addresses,
            program=load(program, args, entry),
            parties=len(self.hosts),
        )
        seats = [replace(seat, private=self._private.get(seat.pid, ())) for seat in made.seats]
        return replace(made, seats=tuple(seats))

    def run(
        self,
        program: Path | str,
        *args: str,
        entry: str = "",
        when: Moment | None = None,
        then: Callable[[], None] | None = None,
    ) -> SessionResult:
        """Run the program to its verdict; call ``then`` at the moment ``when``."""
        path = self.write(program) if isinstance(program, str) else program
        result = asyncio.run(self._run(self.plan(path, *args, entry=entry), when, then))
        self.seconds = time.monotonic() - self.shown_seconds
        left = [line for line in self.leftovers() if line not in self.known]
        assert left == [], left
        return result

    def cancel(self, program: Path, *args: str, word: str) -> None:
        """Run the program and end the session once all print ``word``; raises `CancelledError`."""

        async def interrupted() -> None:
            watcher = Watcher()
            session = asyncio.create_task(self._run_session(self.plan(program, *args), watcher))
            await self._await_moment(session, watcher, all_print(word))
            self.shown_seconds = time.monotonic()
            session.cancel()
            await session

        asyncio.run(interrupted())

    async def _run(
        self, made: Plan, when: Moment | None, then: Callable[[], None] | None
    ) -> SessionResult:
        watcher = Watcher()
        session = asyncio.create_task(self._run_session(made, watcher))
        self.shown_seconds = time.monotonic()
        if when is not None:
            await self._await_moment(session, watcher, when)
            self.shown_seconds = time.monotonic()
            if then is not None:
                await asyncio.to_thread(then)
        result = await session
        self.stop_seconds = result.wall_seconds - watcher.first_failure_seconds()
        return result

    async def _run_session(self, made: Plan, watcher: "Watcher") -> SessionResult:
        return await run_session(
            SessionSpec(
                plan=made,
                hosts=self.hosts,
                overlay=self.overlay,
                sessions=self.folder / "sessions",
                deadline_seconds=self.deadline_seconds,
                rules=replace(self.rules, tls=self.authority is not None),
                authority=self.authority,
                observer=watcher,
            )
        )

    async def _await_moment(
        self, session: asyncio.Task[SessionResult], watcher: "Watcher", when: Moment
    ) -> None:
        async with asyncio.timeout(60):
            while not when(watcher.look(), watcher.logs()):
                assert not session.done(), session.result().reason
                await asyncio.sleep(0.02)

    def log(self, result: SessionResult, pid: int) -> str:
        """Return a party's log as evidence has it."""
        host = result.parties[pid].host
        return (self.folder / "sessions" / result.id / f"{host}.log").read_text()

    def leftovers(self) -> list[str]:
        """Return what the session left on hosts that still run: folders, and Python processes."""
        alive = {handle.name for handle in self.lab.hosts()}
        return [
            line
            for host in self.hosts
            if host.name in alive
            for line in (
                *ask(host, "find", "/run/e3/sessions", "-mindepth", "1").splitlines(),
                *(line for line in processes(host) if "python" in line),
            )
        ]


class Watcher(NullObserver):
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.look: Callable[[], Sequence[PartyProgress]] = tuple
        self._evidence: Path | None = None

    def waiting(self, session: str) -> None:
        raise AssertionError(f"session {session} has these hosts")

    def began(
        self, session: str, evidence: Path, look: Callable[[], Sequence[PartyProgress]]
    ) -> None:
        del session
        self.look, self._evidence = look, evidence

    def first_failure_seconds(self) -> float:
        """Return when a party failed first, or was stopped, or the last one's end if all went well.

        Seconds since the session began.
        """
        by_state: dict[str, list[float]] = {}
        for party in self.look():
            by_state.setdefault(party.state, []).append(party.seconds)
        return min(by_state.get("failed") or by_state.get("stopped") or [max(by_state["done"])])

    def logs(self) -> str:
        """Return the text of all parties' logs."""
        files = sorted(self._evidence.glob("*.log")) if self._evidence else ()
        return "\n".join(file.read_text(errors="replace") for file in files)


def all_print(word: str, times: int = 3) -> Moment:
    """Return the moment at which so many parties have printed the line ``word``."""
    return lambda _, logs: logs.splitlines().count(word) >= times
