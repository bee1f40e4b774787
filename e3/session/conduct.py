"""Conducting a session: all parties from shipping to verdict, within the deadline."""

import asyncio
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from e3.errors import OverlayError, SessionError
from e3.experiment import Rules
from e3.interfaces import Authority, Host, PairPath, Sources
from e3.party.protocol import BEAT_SECONDS, Spec
from e3.remote.tasks import beside, running
from e3.session import comparison, programs
from e3.session.certificates import Certificates
from e3.session.evidence import Evidence
from e3.session.party import LEAVE_SECONDS, Party
from e3.session.paths import Look, changes, look_again
from e3.session.plan import Plan, Seat
from e3.session.progress import NullObserver, Observer, Progress
from e3.session.queue import front_of_queue
from e3.session.record import Record
from e3.session.results import IDENTITY, SessionResult
from e3.session.runner_files import runner_files
from e3.session.runs import KEEP, prune
from e3.session.verdicts import CANCELLED, End, Outcome, Verdict, decide, undecided
from e3.session.watchdog import TICK_SECONDS, WITNESS_SECONDS, overdue

MB = 1_000_000
WITNESS_TICK_SECONDS = 0.05


async def conduct(  # noqa: PLR0913 -- what a session is made of, by keyword
    plan: Plan,
    hosts: Sequence[Host],
    *,
    overlay: str,
    sessions: Path,
    deadline_seconds: float,
    sources: Sources = "claimed",
    paths: Sequence[PairPath] = (),
    look: Look | None = None,
    rules: Rules | None = None,
    authority: Authority | None = None,
    observer: Observer | None = None,
) -> SessionResult:
    """Run a session and return how it went; leaves no process and no file on the hosts.

    ``hosts`` are at least those of the plan; ``overlay`` is the name of what joins them,
    ``sources`` what its addresses prove, and ``paths`` how; ``look`` asks the overlay for their
    class, as the session begins and after it. ``rules`` hold in the session, and ``authority``
    certifies the parties' keys where they ask for TLS. Evidence goes to a new folder below
    ``sessions``, each party's output as it comes; sessions of the same folder take turns, and the
    deadline counts from this one's. ``observer`` follows. Raises `ProgramError` before anything is
    shipped if the program changed since it was planned. When the task is cancelled, the session
    ends within seconds, its evidence has the verdict ``cancelled``, and `CancelledError` goes on.
    """
    observer = observer or NullObserver()
    async with front_of_queue(sessions, observer.waiting) as note:
        prune(sessions, KEEP - 1)
        name = new_id()
        note(name, deadline_seconds)  # before there is a folder: one that nobody conducts is over
        session = Session(
            id=name,
            plan=plan,
            hosts=hosts,
            overlay=overlay,
            sessions=sessions,
            deadline_seconds=deadline_seconds,
            sources=sources,
            paths=paths,
            look=look,
            rules=rules or Rules(),
            authority=authority,
        )
        return await session.run(observer)


def new_id() -> str:
    """Return a name for a session: its time in UTC, and four characters against equal times."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@dataclass(kw_only=True)
class Session:
    """One run; `conduct` is its only user."""

    id: str
    plan: Plan
    hosts: Sequence[Host]
    overlay: str
    sessions: Path
    deadline_seconds: float
    sources: Sources
    paths: Sequence[PairPath]
    look: Look | None
    rules: Rules
    authority: Authority | None

    def __post_init__(self) -> None:
        """Read what is to be shipped, and open the evidence; nothing runs yet."""
        self._began = time.monotonic()
        self._files = (runner_files(), programs.files(self.plan.program, "program"))
        self._evidence = Evidence(self.sessions, self.id)
        self._evidence.begin(
            self.plan, overlay=self.overlay, deadline_seconds=self.deadline_seconds
        )
        by_name = {host.name: host for host in self.hosts}
        self._parties = [self._party(seat, by_name[seat.host]) for seat in self.plan.seats]
        self._wall_seconds: float | None = None
        self._paths_after: tuple[PairPath, ...] = ()
        self._notes: list[str] = []

    async def run(self, observer: Observer) -> SessionResult:
        """Run the session to its verdict."""
        observer.began(self.id, self._evidence.folder, self._show)
        ship_seconds = self.rules.limits.ship_seconds
        attending = (
            party.attend(*self._files, ship_seconds=ship_seconds) for party in self._parties
        )
        async with (
            beside(self._look()) as before,
            beside(self._beat()),
            running(attending) as tasks,
        ):
            return await self._run(tasks, before)

    async def _run(
        self,
        tasks: Sequence[asyncio.Task[None]],
        before: asyncio.Task[tuple[PairPath, ...]],
    ) -> SessionResult:
        outcome = CANCELLED
        try:
            late = await self._watch(tasks)
            await self._stop(tasks)
            self._wall_seconds = self._clock()
            outcome = late or self._judge()
            await self._look_back(await before)
            return self._conclude(outcome)
        except asyncio.CancelledError:
            await self._stop(tasks)
            self._conclude(outcome)
            raise
        finally:
            await self._stop(tasks)

    async def _look(self) -> tuple[PairPath, ...]:
        """Return the paths as the overlay reports them now; none where it cannot be asked."""
        if self.look is None:
            return ()
        try:
            return await look_again(self.look, self.paths)
        except OverlayError as error:
            self._notes.append(str(error))
            return ()

    async def _look_back(self, before: tuple[PairPath, ...]) -> None:
        """Note how the paths are by now, and which of them are not as ``before``."""
        if before:
            self.paths = before
            self._paths_after = await self._look()
            self._notes += changes(before, self._paths_after)

    def _clock(self) -> float:
        return time.monotonic() - self._began

    def _party(self, seat: Seat, host: Host) -> Party:
        limits = self.rules.limits
        spec = Spec(
            session=self.id,
            pid=seat.pid,
            parties=tuple((s.endpoint.address, s.endpoint.port) for s in self.plan.seats),
            entry=self.plan.program.entry,
            args=self.plan.program.args,
            private=seat.private,
            tls=self.rules.tls,
            mixed=self._mixed,
            overlay=self.overlay,
            sources=self._sources,
            flood_bytes=int(limits.output_mb * MB),
            memory_bytes=int(limits.memory_mb * MB),
            file_bytes=int(limits.files_mb * MB),
            processes=limits.processes,
            unpickle=self.rules.unpickle,
            network=self.rules.network,
        )
        names = {seat.pid: seat.host for seat in self.plan.seats}
        record = Record(seat, spec, names)
        party = Party(record, host, spec, self._evidence.log(seat.host), self._clock)
        if self.rules.tls:
            party.certificates = self._certificates
        return party

    @property
    def _certificates(self) -> Certificates:
        if self.authority is None:
            raise SessionError(
                "e3:tls: there is no authority to certify keys; run `pulumi up` first"
            )
        return Certificates(authority=self.authority, deadline_seconds=self.deadline_seconds)

    @property
    def _mixed(self) -> bool:
        by_name = {host.name: host for host in self.hosts}
        return len({by_name[seat.host].bits for seat in self.plan.seats}) > 1

    @property
    def _sources(self) -> Sources:
        """What addresses prove: nothing where a party calls from behind a NAT, with its address."""
        by_name = {host.name: host for host in self.hosts}
        called_from = [(by_name[seat.host], seat.endpoint.address) for seat in self.plan.seats]
        translated = [
            host
            for host, own in called_from
            if host.reachability != "public" and host.underlay == own
        ]
        return "hidden" if translated else self.sources

    @property
    def _records(self) -> list[Record]:
        return [party.record for party in self._parties]

    def _show(self) -> list[Progress]:
        return [record.progress(self._clock()) for record in self._records]

    def _ends(self) -> list[End]:
        """Return how each party ended, or as what it would end now."""
        records = self._records
        met = all(record.connected_seconds is not None for record in records)
        ended = {record.seat.pid: record.ended_seconds for record in records}

        def left_by(record: Record) -> Iterator[int]:
            for peer, seconds in record.lost.items():
                if (end := ended[peer]) is not None and end <= seconds:
                    yield peer

        return [
            replace(record.current_end(all_connected=met), left_by=tuple(left_by(record)))
            for record in records
        ]

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            for party in self._parties:
                party.beat()

    async def _watch(self, tasks: Sequence[asyncio.Task[None]]) -> Outcome | None:
        """Return when all have ended, one has failed, or, with the outcome, one takes too long."""
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=self._pause(), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            if self._failed_for_good():
                return None
            outcome = overdue(
                [record.milestones for record in self._records],
                self._ends(),
                now=self._clock(),
                deadline_seconds=self.deadline_seconds,
                limits=self.rules.limits,
            )
            if outcome is not None and pending:
                return outcome
        return None

    @property
    def _failed_seconds(self) -> float | None:
        """When the first party failed."""
        failed = [
            record.ended_seconds
            for record in self._records
            if record.end is not None and record.end.failed and record.ended_seconds is not None
        ]
        return min(failed, default=None)

    def _pause(self) -> float:
        """Return for how long nothing is to be looked at."""
        if self._failed_seconds is not None:
            return WITNESS_TICK_SECONDS
        return min(max(self.deadline_seconds - self._clock(), 0.0), TICK_SECONDS)

    def _failed_for_good(self) -> bool:
        """Return whether a party has failed, and others have had time to bear out what it says."""
        failed = self._failed_seconds
        if failed is None:
            return False
        return self._clock() > failed + WITNESS_SECONDS or not undecided(self._ends())

    def _judge(self) -> Outcome:
        """Return the outcome of a session whose parties all ended."""
        parties = [record.result for record in self._records]
        silent = not any(party.output.strip() for party in parties)
        outcome = decide(self._ends(), silent=silent)
        if (
            outcome.verdict is not Verdict.COMPLETED
            or len({party.output for party in parties}) == 1
        ):
            return outcome
        self._evidence.write("outputs.diff", comparison.diff(parties))
        if self.rules.compare == "same":
            return comparison.compare(parties) or outcome
        return replace(outcome, reason=f"{outcome.reason}; they did not all print the same")

    async def _stop(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """End what still runs: ask the runners, which then report; else close their lifelines."""
        for party in self._parties:
            party.stop()
        living = [task for task in tasks if not task.done()]
        if living:
            _, stuck = await asyncio.wait(living, timeout=LEAVE_SECONDS)
            for task in stuck:
                task.cancel()
            if stuck:
                await asyncio.wait(stuck)

    def _conclude(self, outcome: Outcome) -> SessionResult:
        """Return the result, after it is written to the evidence."""
        setup, online = self._times()
        result = SessionResult(
            id=self.id,
            program=self.plan.program.name,
            digest=self.plan.program.digest,
            overlay=self.overlay,
            verdict=outcome.verdict,
            reason=outcome.reason,
            concerned=outcome.parties,
            advice=outcome.advice,
            parties=tuple(record.result for record in self._records),
            setup_seconds=setup,
            online_seconds=online,
            wall_seconds=self._wall_seconds or self._clock(),
            identity="certificates" if self.rules.tls else IDENTITY[self._sources],
            paths=tuple(self.paths),
            paths_after=self._paths_after,
            notes=tuple(self._notes),
            evidence=self._evidence.name,
        )
        versions = {record.seat.host: record.versions for record in self._records}
        self._evidence.end(result.to_properties(), versions)
        return result

    def _times(self) -> tuple[float | None, float | None]:
        """Return set-up and online time, as far as the session got."""
        connected = [record.connected_seconds for record in self._records]
        setup = [seconds for seconds in connected if seconds is not None]
        if len(setup) < len(connected):
            return None, None
        served = [record.served_seconds for record in self._records]
        online = [seconds for seconds in served if seconds is not None]
        return max(setup), max(online) - max(setup) if online else None
