"""Run a session: all its parties from shipping to verdict, within the deadline."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from e3.errors import OverlayError, SessionError
from e3.experiment import Rules
from e3.interfaces import AddressTrust, Authority, File, Host
from e3.party.protocol import BEAT_SECONDS, spare_seconds
from e3.paths import PairPath
from e3.remote.tasks import beside, running
from e3.session import comparison, inputs, outputs, programs, source
from e3.session.alone import Alone, here, with_others
from e3.session.certificates import Certificates
from e3.session.console import Console, Typing
from e3.session.declarations import STORE, Prepared, provided
from e3.session.evidence import Evidence
from e3.session.inputs import Earlier
from e3.session.outputs import PartyOutput
from e3.session.party import LEAVE_SECONDS, Party
from e3.session.party_spec import MB, party_spec
from e3.session.paths import Look, changes, look_again
from e3.session.plan import Plan, Seat
from e3.session.progress import NullObserver, Observer, PartyProgress
from e3.session.queue import front_of_queue
from e3.session.record import Record
from e3.session.results import IDENTITY, SessionResult, new_id
from e3.session.runner_files import runner_files
from e3.session.runs import KEEP, prune
from e3.session.verdicts import CANCELLED, End, Outcome, Verdict, decide, undecided
from e3.session.watchdog import TICK_SECONDS, WITNESS_SECONDS, PartyMilestones, overdue

WITNESS_TICK_SECONDS = 0.05

ShippedFiles = tuple[Sequence[File], Sequence[File]]
"""The runner, and the program."""

Sent = Mapping[str, Sequence[File]]
"""The private inputs by host, each for that host alone."""


@dataclass(frozen=True, kw_only=True)
class SessionSpec:
    """What a session is made of.

    ``hosts`` are at least those of the plan. ``overlay`` is the name of what joins them,
    ``address_trust`` what its addresses prove, and ``paths`` how it joins them. ``look`` asks the
    overlay for their class, once as the session begins and once after it. ``rules`` hold in the
    session, and ``authority`` certifies the parties' keys if the rules ask for TLS. ``inputs`` is a
    folder with the private inputs of each host in a subfolder, and output of an ``earlier`` session
    is input, too. Party 0 reads what is typed at ``console``. Evidence goes to a new folder below
    ``sessions``. ``observer`` is told what happens. ``store`` has packages for programs. With
    ``alone`` only one party runs here, and the others elsewhere.
    """

    plan: Plan
    hosts: Sequence[Host]
    overlay: str
    sessions: Path
    deadline_seconds: float
    address_trust: AddressTrust = "unverified"
    paths: Sequence[PairPath] = ()
    look: Look | None = None
    rules: Rules = field(default_factory=Rules)
    authority: Authority | None = None
    inputs: Path | None = None
    earlier: Earlier | None = None
    console: Console | None = None
    observer: Observer = field(default_factory=NullObserver)
    store: Path = STORE
    alone: Alone | None = None


async def run_session(spec: SessionSpec) -> SessionResult:
    """Run a session and return how it went; leaves no process and no file on the hosts.

    Sessions of the same folder run one after another, and the deadline counts from the start of
    this one, once hosts have the packages for which the program asks (`e3.session.packages`).
    Evidence has each party's output as it comes. Raises `ProgramError` before anything is shipped
    if the program changed since it was planned. If the task is cancelled, the session ends within
    seconds, its evidence has the verdict ``cancelled``, and `CancelledError` goes on.
    """
    queue = spec.alone.queue if spec.alone else spec.sessions
    async with front_of_queue(queue, spec.observer.waiting) as note:
        prune(spec.sessions, KEEP - 1)
        name = new_id()  # by this machine's clock: newer evidence is kept for longer
        # before there is a folder: a folder whose session is not noted counts as interrupted
        note(name, spec.rules.limits.packages_seconds + spec.deadline_seconds)
        async with provided(spec.plan, spec.hosts, spec.rules, spec.observer, spec.store) as found:
            note(name, spec.deadline_seconds)
            return await SessionRun.open(spec, name, found).run()


class SessionRun:
    """One run of a session; `run_session` is its only user."""

    def __init__(
        self, spec: SessionSpec, files: ShippedFiles, sent: Sent, evidence: Evidence, began: float
    ) -> None:
        """``began`` is when the session began, on the monotonic clock."""
        self._spec = spec
        self._files = files
        self._sent = sent
        self._evidence = evidence
        self._began = began
        self._by_name = {host.name: host for host in spec.hosts}
        self._parties: list[Party] = []
        self._wall_seconds: float | None = None
        self._paths = tuple(spec.paths)
        self._paths_after: tuple[PairPath, ...] = ()
        self._notes: list[str] = list(spec.plan.program.notes)
        self._packages = Prepared()

    @classmethod
    def open(cls, spec: SessionSpec, name: str, packages: Prepared) -> "SessionRun":
        """Read what is shipped, and open the evidence ``name``; nothing runs yet."""
        began = time.monotonic()
        files = (runner_files(), programs.files(spec.plan.program, "program"))
        seats = here(spec.plan.seats, spec.alone)
        hosts = [seat.host for seat in seats]
        sent = inputs.read(spec.inputs, hosts, int(spec.rules.limits.input_mb * MB), spec.earlier)
        evidence = Evidence(spec.sessions, name)
        evidence.begin(
            spec.plan,
            overlay=spec.overlay,
            deadline_seconds=spec.deadline_seconds,
            outputs=spec.rules.outputs,
            packages=packages.listed,
        )
        session = cls(spec, files, sent, evidence, began)
        session._packages = packages
        session._parties += [session._party(seat) for seat in seats]
        return session

    async def run(self) -> SessionResult:
        """Run the session to its verdict."""
        self._spec.observer.began(self._evidence.id, self._evidence.folder, self._show)
        spare = spare_seconds(len(self._spec.plan.seats))
        ship_seconds = self._spec.rules.limits.ship_seconds + spare
        attending = (
            party.attend(
                *self._files,
                self._sent.get(party.record.seat.host, ()),
                ship_seconds=ship_seconds,
            )
            for party in self._parties
        )
        async with (
            beside(self._look_first()) as before,
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
        """Return the paths as the overlay reports them now; none if it cannot be asked."""
        if self._spec.look is None:
            return ()
        try:
            return await look_again(self._spec.look, self._paths)
        except OverlayError as error:
            self._notes.append(str(error))
            return ()

    async def _look_first(self) -> tuple[PairPath, ...]:
        """Look while the parties agree: the processors of a lab are busy before."""
        for party in self._parties:
            await party.loaded.wait()
        return await self._look()

    async def _look_back(self, before: tuple[PairPath, ...]) -> None:
        """Note the paths as they are now, and which of them have changed since ``before``."""
        if before:
            self._paths = before
            self._paths_after = await self._look()
            self._notes += changes(before, self._paths_after)

    def _clock(self) -> float:
        return time.monotonic() - self._began

    def _party(self, seat: Seat) -> Party:
        host = self._by_name[seat.host]
        alone = self._spec.alone
        spec = replace(
            party_spec(
                alone.session if alone else self._evidence.id,
                self._spec.plan,
                seat,
                self._spec.rules,
            ),
            mixed=self._mixed,
            overlay=self._spec.overlay,
            address_trust=self._address_trust,
            inputs_from=self._spec.earlier.session if self._spec.earlier else "",
            typed=self._spec.console is not None and seat.pid == 0,
            packages=self._packages.layers.get(seat.host, ""),
        )
        names = {seat.pid: seat.host for seat in self._spec.plan.seats}
        output = PartyOutput(self._evidence.folder / outputs.FOLDER / seat.host, spec)
        record = Record(seat, spec, names, output)
        record.printed.folder = self._evidence.folder
        party = Party(record, host, spec, self._evidence.log(seat.host), self._clock)
        if self._spec.console is not None and seat.pid == 0:
            party.typing = Typing(self._spec.console)
        if self._spec.rules.tls:
            party.certificates = self._certificates
        return party

    @property
    def _certificates(self) -> Certificates:
        if self._spec.authority is None:
            raise SessionError(
                "e3:tls: there is no authority to certify keys; run `pulumi up` first"
            )
        return Certificates(
            authority=self._spec.authority, deadline_seconds=self._spec.deadline_seconds
        )

    @property
    def _mixed(self) -> bool:
        return len({host.bits for host, _ in self._called_from}) > 1

    @property
    def _called_from(self) -> list[tuple[Host, str]]:
        seats = here(self._spec.plan.seats, self._spec.alone)
        return [(self._by_name[seat.host], seat.endpoint.address) for seat in seats]

    @property
    def _address_trust(self) -> AddressTrust:
        """What addresses prove: nothing where a party calls from behind a NAT, with its address."""
        translated = any(
            host.reachability != "public" and host.underlay == own
            for host, own in self._called_from
        )
        return "translated" if translated else self._spec.address_trust

    @property
    def _records(self) -> list[Record]:
        return [party.record for party in self._parties]

    def _show(self) -> list[PartyProgress]:
        return [record.progress(self._clock()) for record in self._records]

    def _ends(self) -> list[End]:
        """Return how each party ended, or how it would end now."""
        records = self._records
        met = all(record.connected_seconds is not None for record in records)
        ended = {record.seat.pid: record.ended_seconds for record in records}

        def left_by(record: Record) -> Iterator[int]:
            for peer, seconds in record.lost.items():
                if (end := ended.get(peer)) is not None and end <= seconds:
                    yield peer

        ends = [
            replace(record.current_end(all_connected=met), left_by=tuple(left_by(record)))
            for record in records
        ]
        return with_others(ends, self._spec.plan.seats, self._spec.alone)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            for party in self._parties:
                party.beat()

    async def _watch(self, tasks: Sequence[asyncio.Task[None]]) -> Outcome | None:
        """Return when all have ended or one has failed, or the outcome when one takes too long."""
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=self._pause(), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            if self._failed_for_good():
                return None
            ends = self._ends()
            milestones = {record.seat.pid: record.milestones for record in self._records}
            outcome = overdue(
                [milestones.get(end.pid, PartyMilestones(ended=True)) for end in ends],
                ends,
                now=self._clock(),
                deadline_seconds=self._spec.deadline_seconds,
                limits=self._spec.rules.limits,
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
        """Return how long to wait until the next check."""
        if self._failed_seconds is not None:
            return WITNESS_TICK_SECONDS
        return min(max(self._spec.deadline_seconds - self._clock(), 0.0), TICK_SECONDS)

    def _failed_for_good(self) -> bool:
        """Return whether a party has failed, and others have had time to confirm what it says."""
        failed = self._failed_seconds
        if failed is None:
            return False
        return self._clock() > failed + WITNESS_SECONDS or not undecided(self._ends())

    def _judge(self) -> Outcome:
        """Return the outcome of a session that did not take too long."""
        parties = [
            comparison.Printed(pid=each.seat.pid, host=each.seat.host, output=each.printed)
            for each in self._records
        ]
        silent = all(party.output.blank for party in parties)
        outcome = decide(self._ends(), silent=silent)
        if outcome.verdict is Verdict.PARTY_FAILED:
            advice = source.advise(outcome.reason, self._spec.plan.program)
            outcome = replace(outcome, advice=advice or outcome.advice)
        equal = len({party.output.digest for party in parties}) == 1
        if outcome.verdict is not Verdict.COMPLETED or equal:
            return outcome
        self._evidence.write("outputs.diff", comparison.diff(parties))
        if self._spec.rules.compare == "same":
            return comparison.compare(parties) or outcome
        return replace(outcome, reason=f"{outcome.reason}; they did not all print the same")

    async def _stop(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Stop what still runs: ask the runners, which then report; else close their lifelines."""
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
        """Write the result to the evidence and return it."""
        setup, online = self._times()
        result = SessionResult(
            id=self._evidence.id,
            program=self._spec.plan.program.name,
            digest=self._spec.plan.program.digest,
            overlay=self._spec.overlay,
            verdict=outcome.verdict,
            reason=outcome.reason,
            concerned=outcome.parties,
            advice=outcome.advice,
            parties=tuple(record.result for record in self._records),
            setup_seconds=setup,
            online_seconds=online,
            wall_seconds=self._wall_seconds or self._clock(),
            identity="certificates" if self._spec.rules.tls else IDENTITY[self._address_trust],
            paths=self._paths,
            paths_after=self._paths_after,
            notes=(*self._notes, *(each for one in self._records for each in one.output.notes)),
            evidence=self._evidence.name,
        )
        versions = {record.seat.host: record.versions for record in self._records}
        self._evidence.end(result.to_properties(), versions)
        for record in self._records:
            record.printed.close()
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
