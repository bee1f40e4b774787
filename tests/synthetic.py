"""Results of campaigns that were never run, with known truth, for tests of reports and exports."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from e3.evaluation import results, results_file
from e3.session.verdicts import Verdict
from tests import campaigns

ROUND_TRIPS = {"near": 0.5, "two": 82.0, "far": 165.0, "nats": 145.0}
PLACES: Mapping[str, Mapping[str, int]] = {
    "near": {"ams3": 3},
    "two": {"ams3": 2, "nyc3": 1},
    "far": {"ams3": 1, "sfo3": 1, "sgp1": 1},
    "nats": {"ams3": 2, "sfo3": 1},
}
NATS = {"nats": {"ams3-0": "port-restricted", "sfo3-0": "symmetric"}}
WORK = {"rounds": (100, 4_000), "bulk": (4, 20_000_000), "santa": (60, 90_000)}


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What an overlay adds: a factor on round trips, Mbit/s, seconds to join, bytes' overhead."""

    factor: float = 1.0
    mbit: float = 300.0
    join: float = 0.3
    overhead: float = 1.05


TRUTHS: Mapping[str, Truth] = {
    "plain": Truth(),
    "tls": Truth(factor=1.0, mbit=280, join=0.4, overhead=1.07),
    "wireguard": Truth(factor=1.02, mbit=700, join=1.0, overhead=1.12),
    "nebula": Truth(factor=1.05, mbit=320, join=0.9, overhead=1.14),
    "headscale": Truth(factor=1.1, mbit=800, join=4.1, overhead=1.16),
    "tinc": Truth(factor=1.12, mbit=220, join=1.7, overhead=1.18),
    "tor": Truth(factor=3.5, mbit=24, join=25.0, overhead=1.5),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A campaign to make up. ``truths`` by id of an overlay; ``share_failed`` of sessions fail.

    ``added_ms`` is added to the round trips of a scenario, unnoticed by the echoes.
    """

    truths: Mapping[str, Truth] = field(default_factory=lambda: TRUTHS)
    scenarios: Sequence[str] = tuple(PLACES)
    programs: Sequence[str] = tuple(WORK)
    repetitions: int = 10
    seed: int = 1
    spread: float = 0.05
    share_failed: float = 0.0
    share_disturbed: float = 0.0
    echoes: bool = True
    added_ms: Mapping[str, float] = field(default_factory=dict)


def write(path: Path, plan: Plan) -> Path:
    """Write a campaign's results."""
    chain = results_file.FIRST
    with path.open("wb") as file:
        for record in records(plan):
            line, chain = results_file.link(record, chain)
            file.write(line)
    return path


def records(plan: Plan) -> Iterator[results.Record]:
    """Yield the records of a campaign."""
    draw = random.Random(plan.seed)  # noqa: S311 -- not for secrets
    yield campaigns.campaign(
        name="synthetic",
        about="Made up, for tests",
        seed=plan.seed,
        repetitions=plan.repetitions,
        overlays=[_overlay(name) for name in plan.truths],
        scenarios=[
            results.ScenarioChoice(
                id=name,
                about=f"{name} parties",
                fleet="lab",
                regions=dict(PLACES[name]),
                nats=NATS.get(name, {}),
            )
            for name in plan.scenarios
        ],
        programs=[
            results.ProgramChoice(
                id=name,
                group=name,
                program=f"campaigns/programs/{name}.py",
                about=f"{name} of a kind",
                digest=campaigns.DIGEST,
            )
            for name in plan.programs
        ],
    )
    order = 0
    for overlay, truth in plan.truths.items():
        for scenario in plan.scenarios:
            cell = f"{overlay}/{scenario}"
            if overlay in {"plain", "tls"} and scenario == "nats":
                reason = "neither of ams3-0 nor of sfo3-0 can open a connection to the other"
                yield campaigns.cell(
                    cell=cell, state="unsupported", reason=reason, verdicts={}, destroy_seconds=None
                )
                continue
            yield _setup(cell, truth, scenario)
            counts = dict.fromkeys((Verdict.COMPLETED, Verdict.UNREACHABLE), 0)
            for repetition in range(plan.repetitions):
                for program in plan.programs:
                    one = _repetition(
                        plan,
                        draw,
                        cell,
                        truth=truth,
                        program=program,
                        repetition=repetition,
                        order=order,
                    )
                    counts[one.verdict] += 1
                    order += 1
                    yield one
            failed = counts[Verdict.UNREACHABLE]
            yield campaigns.cell(
                cell=cell,
                state="failed" if failed else "succeeded",
                reason=f"{failed} repetitions did not complete" if failed else "",
                verdicts={verdict: count for verdict, count in counts.items() if count},
            )


def _overlay(name: str) -> results.OverlayChoice:
    known = name.rstrip("0123456789-")
    if known == "tls":
        return results.OverlayChoice(id=name, overlay="plain", tls=True)
    return results.OverlayChoice(id=name, overlay=known if known in TRUTHS else "plain")


def _hosts(scenario: str) -> list[str]:
    return [f"{place}-{i}" for place, count in PLACES[scenario].items() for i in range(count)]


def _trips(truth: Truth, scenario: str, sent: int) -> list[results.RoundTrip]:
    hosts = _hosts(scenario)
    found = []
    layers: dict[results.Layer, float] = {"underlay": 1.0, "overlay": truth.factor}
    for layer, factor in layers.items():
        for a in hosts:
            for b in hosts:
                if a == b:
                    continue
                near = a.partition("-")[0] == b.partition("-")[0]
                ms = (0.5 if near else ROUND_TRIPS[scenario]) * factor
                trip = results.RoundTrip(
                    source=a,
                    target=b,
                    layer=layer,
                    transport="udp",
                    sent=sent,
                    lost=0,
                    least_ms=ms,
                    median_ms=ms + 0.1,
                    most_ms=ms + 1,
                    jitter_ms=0.1,
                )
                found.append(trip)
    return found


def _setup(cell: str, truth: Truth, scenario: str) -> results.SetupRecord:
    hosts = _hosts(scenario)
    pairs = [
        results.JoinedPair(
            source=a, target=b, path_class="direct", contact_seconds=truth.join * 0.9
        )
        for a in hosts
        for b in hosts
        if a != b
    ]
    facts = [
        results.HostFacts(
            name=name,
            region=name.partition("-")[0],
            system="x86_64-linux",
            reachability="public",
            underlay_address=f"198.18.0.{2 + pid}",
            overlay_address=f"10.77.0.{1 + pid}",
            pid=pid,
        )
        for pid, name in enumerate(hosts)
    ]
    bulk: dict[results.Layer, float] = {"underlay": 300.0, "overlay": truth.mbit}
    rates = [
        results.Throughput(source=hosts[0], target=hosts[-1], layer=layer, mbit_per_second=rate)
        for layer, rate in bulk.items()
    ]
    return campaigns.setup(
        cell=cell,
        hosts=facts,
        overlay_seconds=truth.join,
        settled_seconds=truth.join + 0.2,
        pairs=pairs,
        baseline=_trips(truth, scenario, 25),
        throughput=rates,
    )


def _repetition(  # noqa: PLR0913 -- what a repetition is of
    plan: Plan,
    draw: random.Random,
    cell: str,
    *,
    truth: Truth,
    program: str,
    repetition: int,
    order: int,
) -> results.RepetitionRecord:
    scenario = cell.partition("/")[2]
    rounds, size = WORK[program]
    # round trips count where a bulk transfer is not what takes the time
    trip_ms = ROUND_TRIPS[scenario] + plan.added_ms.get(scenario, 0.0)
    ideal = rounds * trip_ms * truth.factor / 2000 + size * 8e-6 / truth.mbit + 0.15
    online = ideal * draw.lognormvariate(0, plan.spread)
    failed = draw.random() < plan.share_failed
    disturbed = draw.random() < plan.share_disturbed
    hosts = _hosts(scenario)
    return campaigns.repetition(
        cell=cell,
        program=program,
        repetition=repetition,
        order=order,
        session=f"20261120-100000-{order:04x}",
        verdict=Verdict.UNREACHABLE if failed else Verdict.COMPLETED,
        reason="ams3-0 acknowledged nothing for 20 s" if failed else "all parties ended well",
        setup_seconds=None if failed else 0.4,
        online_seconds=None if failed else online,
        wall_seconds=online + 1.5,
        parties=[
            results.PartyCost(
                pid=pid,
                host=host,
                exit=0,
                seconds=online + 1,
                sent_bytes=size + 500,
                cpu_seconds=0.45 + draw.random() * 0.05,
                peak_memory_bytes=60 << 20,
                stated_rounds=rounds,
                stated_bytes=size,
            )
            for pid, host in enumerate(hosts)
        ],
        hosts=[
            results.HostCost(
                host=host,
                sent_wire_bytes=int(size * truth.overhead),
                received_wire_bytes=size,
                sent_packets=size // 1300 + rounds,
                received_packets=size // 1300 + rounds,
                daemon_cpu_seconds=0.1 * truth.factor,
                daemon_peak_memory_bytes=25 << 20,
            )
            for host in hosts
        ],
        paths=[
            results.PathChange(source=a, target=b, before="direct", after="direct")
            for a in hosts
            for b in hosts
            if a != b
        ],
        round_trips=_trips(truth, scenario, 5) if plan.echoes else [],
        disturbances=[
            results.Disturbance(kind="cpu", value=0.4, limit=0.1, detail="others took 40 %")
        ]
        if disturbed
        else [],
    )
