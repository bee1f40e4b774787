"""Observe a cell from outside: what can be read, who is seen, and whether MPC can be recognised.

All of this comes after the repetitions of the cell, whose figures it would disturb. A host that the
overlay does not know is added to the lab for it, and removed again.
"""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from e3.errors import E3Error, HostError
from e3.evaluation.campaign import intruder, traffic
from e3.evaluation.campaign.convert import REASON_LENGTH, now
from e3.evaluation.campaign.gauges import ON_HOST as GAUGE_ON_HOST
from e3.evaluation.campaign.matrix import Matrix, MatrixCell
from e3.evaluation.campaign.watch import CANARY, Watch, found_names, needles, open_watch
from e3.evaluation.fields import Count, Part, Word
from e3.evaluation.observations import Memory, ObservationKind, ObservationRecord, View
from e3.evaluation.results import ProgramChoice
from e3.interfaces import Host
from e3.lab.client import HostHandle, Lab
from e3.lab.vantage import vantages
from e3.remote.tasks import beside, in_thread
from e3.remote.text import printable
from e3.session.results import SessionResult
from e3.session.run_session import run_session
from e3.session.verdicts import Verdict

if TYPE_CHECKING:
    from e3.evaluation.campaign.cell import Bench

OTHERS: Sequence[ObservationKind] = ("idle", "echoes", "bulk", "requests")
"""Traffic without MPC."""

CANARY_PROGRAM = "campaigns/programs/canary.py"
CANARY_SECONDS = 2
OUTSIDER = "outsider"
"""The name of the host that the overlay does not know."""

FEWEST_PARTIES = 3
"""With two, MPyC's threshold is 0, and no message is needed to open a value."""

JOIN_SECONDS = 60.0
SEARCH_SECONDS = 30.0
RESTART_SECONDS = 60.0
RESTART = "for s in /run/service/*; do [ ! -d $s ] || s6-svc -wr -r $s; done"
OTHER_SECONDS = (0.5, 2.0)
"""Between these, traffic without MPC lasts."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One observation that is to be made; ``program`` and ``parties`` of a session."""

    number: int
    kind: ObservationKind
    program: ProgramChoice | None = None
    parties: int = 0


class Searched(Part, frozen=True, kw_only=True):
    """What a host answers that searched the memory of its daemons (e3/remote/gauge.py)."""

    found: dict[Word, Count] | None
    bytes: Count


def planned(matrix: Matrix, cell: MatrixCell) -> list[Planned]:
    """Return what is observed of a cell, in its order, which the seed decides. Pure.

    Sessions of a program have three parties, four and so on, in turn, up to one a host.
    """
    observe = matrix.file.observe
    first: list[tuple[ObservationKind, ProgramChoice | None, int]] = []
    if cell.scenario.id in observe.scenarios:
        first = [("canary", None, 0), ("attack", None, 0)]
    turns = range(observe.sessions if cell.scenario.id in observe.traffic else 0)
    hosts = sum(cell.scenario.regions.values())
    sizes = range(min(FEWEST_PARTIES, hosts), hosts + 1)
    kinds: list[tuple[ObservationKind, ProgramChoice | None, int]] = [
        ("session", program, program.parties or sizes[(place + turn) % len(sizes)])
        for turn in turns
        for place, program in enumerate(matrix.programs_of(cell))
    ]
    kinds += [(kind, None, 0) for _ in turns for kind in OTHERS]
    random.Random(f"{matrix.file.seed}/{cell.id}/seen").shuffle(kinds)  # noqa: S311 - no secret
    return [
        Planned(number=number, kind=kind, program=program, parties=parties)
        for number, (kind, program, parties) in enumerate([*first, *kinds])
    ]


def third_parties(hosts: Sequence[Host]) -> list[Host]:
    """Return the host that takes no part in the session with the canary: the first public one.

    Overlays with a server have it there, or on more public hosts, each of which then takes part. A
    campaign that observes a scenario has a public host in it.
    """
    return [host for host in hosts if host.reachability == "public"][:1]


def target_of(hosts: Sequence[Host]) -> Host:
    """Return the public host that is attacked: the last, which takes part if another one does not.

    The host that does not belong to the stack is its neighbour.
    """
    return [host for host in hosts if host.reachability == "public"][-1]


async def observe(bench: "Bench", lab: Lab, left: Sequence[Planned]) -> None:
    """Make these observations, and write each; one that fails, or cannot begin, says why."""
    try:
        await _observe(bench, lab, left)
    except (E3Error, TimeoutError, OSError) as error:
        # the repetitions of the cell are measured, and stay so
        for each in left:
            if (bench.cell.id, each.number) not in bench.progress.observed:
                reason = printable(error, REASON_LENGTH)
                bench.progress.observe(_blank(bench, each, reason=reason))


async def _observe(bench: "Bench", lab: Lab, left: Sequence[Planned]) -> None:
    async with _outsider(lab, target_of(bench.joined.hosts).region) as outsider:
        canary = hashlib.sha256(_seed(bench).encode()).hexdigest()
        async with open_watch(
            bench.joined,
            lab,
            canary,
            third=third_parties(bench.joined.hosts),
            neighbours=[outsider],
        ) as watch:
            stage = Stage(bench=bench, lab=lab, watch=watch, outsider=outsider, canary=canary)
            for number, each in enumerate(left):
                what = f"observing {each.kind}, {number + 1} of {len(left)}"
                bench.progress.tell(bench.cell.id, what)
                bench.progress.observe(await stage.make(each))


@asynccontextmanager
async def _outsider(lab: Lab, region: str) -> AsyncIterator[HostHandle]:
    """Add a host that the overlay does not know; remove it at the end."""
    try:
        yield await in_thread(lab.add_host, OUTSIDER, region)
    finally:
        await in_thread(lab.remove_host, OUTSIDER)


def _blank(bench: "Bench", asked: Planned, *, reason: str = "") -> ObservationRecord:
    """Return an observation of which nothing is known yet."""
    return ObservationRecord(
        cell=bench.cell.id,
        number=asked.number,
        setup=bench.setup.setup,
        started=now(),
        what=asked.kind,
        program=asked.program.id if asked.program else "",
        parties=asked.parties,
        reason=reason,
        seconds=0.0,
    )


def _seed(bench: "Bench") -> str:
    return f"{bench.progress.matrix.file.seed}/{bench.cell.id}"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A cell's hosts with everybody who observes them."""

    bench: "Bench"
    lab: Lab
    watch: Watch
    outsider: HostHandle
    canary: str

    async def make(self, asked: Planned) -> ObservationRecord:
        """Make an observation."""
        record, began = _blank(self.bench, asked), time.monotonic()
        try:
            if asked.kind == "canary":
                record = await self._canary(record)
            elif asked.kind == "attack":
                record = await self._attack(record)
            else:
                record = await self._traffic(record, asked)
        except (E3Error, TimeoutError, OSError) as error:
            record = msgspec.structs.replace(record, reason=printable(error, REASON_LENGTH))
        return msgspec.structs.replace(record, seconds=round(time.monotonic() - began, 3))

    async def _canary(self, record: ObservationRecord) -> ObservationRecord:
        """Let parties join again, be silent, compute, and be silent again, each watched."""
        joined, quiet = self.bench.joined, self.bench.progress.matrix.file.observe.quiet_seconds
        third = third_parties(joined.hosts)
        parties = [host for host in joined.hosts if host not in third]
        views: list[View] = []
        await self.watch.take("joining")
        await parties[-1].access.run(["sh", "-c", RESTART], timeout_seconds=RESTART_SECONDS)
        await self._all_talk()
        views += (await self.watch.take("joining"))[0]
        await asyncio.sleep(quiet)  # what is seen without a session
        views += (await self.watch.take("before"))[0]
        result, memory = await self._searched(parties, third)
        views += (await self.watch.take("during"))[0]
        await asyncio.sleep(quiet)  # the same
        views += (await self.watch.take("after"))[0]
        return msgspec.structs.replace(
            record,
            parties=len(parties),
            verdict=result.verdict,
            reason="" if result.verdict is Verdict.COMPLETED else result.reason,
            views=views,
            memory=memory,
        )

    async def _all_talk(self) -> None:
        """Wait until echoes come back from each host to each other over the overlay."""
        deadline = time.monotonic() + JOIN_SECONDS
        while True:
            trips = await self.bench.gauges.round_trips(1, layers=("overlay",))
            silent = [f"{it.source} and {it.target}" for it in trips if it.median_ms is None]
            if not silent:
                return
            if time.monotonic() > deadline:
                raise HostError(f"within {JOIN_SECONDS:g} s silent were {', '.join(silent)}")

    async def _searched(
        self, parties: Sequence[Host], third: Sequence[Host]
    ) -> tuple[SessionResult, list[Memory]]:
        """Run the session with the canary, and search the memory of third parties meanwhile."""
        names = [host.name for host in parties]
        argv = ["--seed", _seed(self.bench), "--seconds", str(CANARY_SECONDS)]
        settings = self.bench.settings_of(CANARY_PROGRAM, argv, len(parties))
        spec = self.bench.spec(settings, parties)
        found = {
            host.name: Memory(
                host=host.name, searches=0, searched_bytes=0, canary_copies=0, names=[]
            )
            for host in third
        }

        ended = asyncio.Event()

        async def search() -> None:
            while not ended.is_set():
                for host in third:
                    found[host.name] = await self._search(host, names, found[host.name])

        async with beside(search()) as searching:
            result = await run_session(spec)
            ended.set()
            await searching  # the last search, which began during the session
        return result, [each for each in found.values() if each.searches]

    async def _search(self, host: Host, names: Sequence[str], before: Memory) -> Memory:
        argv = [host.python, "-I", "-S", GAUGE_ON_HOST, "search"]
        wanted = json.dumps(needles(self.canary, names)).encode()
        done = await host.access.run(argv, stdin=wanted, timeout_seconds=SEARCH_SECONDS)
        try:
            answer = msgspec.json.decode(done.stdout, type=Searched)
        except (msgspec.DecodeError, ValueError):
            raise HostError(f"{host.name} was asked to search and said {done.complaint}") from None
        if answer.found is None:
            return before
        return Memory(
            host=host.name,
            searches=before.searches + 1,
            searched_bytes=max(before.searched_bytes, answer.bytes),
            canary_copies=max(before.canary_copies, answer.found.get(CANARY, 0)),
            names=sorted({*before.names, *found_names(answer.found, names)}),
        )

    async def _attack(self, record: ObservationRecord) -> ObservationRecord:
        hosts, network = self.bench.joined.hosts, self.bench.joined.network
        outsider, target = self.outsider.host(), target_of(hosts)
        attacks = await intruder.attacks(outsider, target, network, hosts, vantages(self.lab))
        return msgspec.structs.replace(record, attacks=attacks)

    async def _traffic(self, record: ObservationRecord, asked: Planned) -> ObservationRecord:
        """Watch the wire during a session, or during traffic without one."""
        await self.watch.take("before")
        verdict, reason = None, ""
        if asked.program is not None:
            chosen, hosts = asked.program, self.bench.joined.hosts
            settings = self.bench.settings_of(chosen.program, chosen.args, asked.parties)
            result = await run_session(self.bench.spec(settings, hosts))
            verdict = result.verdict
            reason = "" if verdict is Verdict.COMPLETED else result.reason
        else:
            await self._other(asked)
        _, packets = await self.watch.take("during")
        return msgspec.structs.replace(
            record, verdict=verdict, reason=reason, traffic=traffic.describe(packets)
        )

    async def _other(self, asked: Planned) -> None:
        draw = random.Random(f"{_seed(self.bench)}/{asked.number}")  # noqa: S311 - no secret
        seconds = draw.uniform(*OTHER_SECONDS)
        joined = self.bench.joined
        if asked.kind == "echoes":
            await self.bench.gauges.round_trips(draw.randint(5, 50), layers=("overlay",))
        elif asked.kind == "bulk":
            await intruder.bulk(joined, draw, seconds)
        elif asked.kind == "requests":
            await intruder.requests(joined, draw, seconds)
        else:
            await asyncio.sleep(seconds)
