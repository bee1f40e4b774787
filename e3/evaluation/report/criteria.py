"""Overlay x criterion: what was measured or is stated of each overlay, with its unit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from e3.evaluation.report import facts, model, statistics
from e3.evaluation.report.statistics import Ratio
from e3.evaluation.report.study import Runs, Study
from e3.evaluation.results import OverlayChoice
from e3.interfaces import Needs

Nature = Literal["rounds", "bytes", "compute", "unknown"]
"""What a program mostly waits for where nothing is between parties: see `natures`."""

LARGE_BYTES = 100_000
"""A program whose rounds send so much each is one of large messages: TCP's first ten packets have
15 kB, and on a fast line between idle machines even this takes less time than a round trip."""

NATURE_WORDS: Mapping[Nature, str] = {
    "rounds": "many rounds of small messages",
    "bytes": "large messages",
    "compute": "mostly computation",
    "unknown": "not stated by the program",
}

Comparisons = Mapping[tuple[str, str, str], Ratio]
"""Ratios of online time to the baseline's, by overlay, scenario and program."""

MEGA = 1e6
POST_QUANTUM = "MLKEM"
"""In the names of exchanges of keys that have it (FIPS 203), as in X25519MLKEM768."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Everything that criteria and decisions ask of one overlay of a campaign.

    Of measured numbers None is what was not measured. ``slowdown`` is the geometric mean of its
    ratios to the baseline, ``by_nature`` that of programs of one nature, ``hidden`` that of
    scenarios with hosts that are not public, in seconds of online time where there is no baseline.
    ``wire_share`` is bytes on the wire for each byte that MPyC sends. ``handshakes`` are the mean
    and the most of a session. ``direct``, ``relayed`` and ``apart`` count the pairs of classes of
    hosts in docs/nat-matrix.yaml. ``exchanges`` counts the paths by the exchange of keys that their
    connections told; empty for most overlays.
    """

    choice: OverlayChoice
    needs: Needs | None
    stated: Mapping[str, facts.Fact]
    ease: facts.Ease | None
    completed: int
    total: int
    slowdown: float | None
    by_nature: Mapping[Nature, float]
    hidden_seconds: float | None
    overlay_seconds: float | None
    contact_seconds: float | None
    wire_share: float | None
    daemon_cpu_seconds: float | None
    daemon_memory_bytes: float | None
    handshakes: tuple[float | None, float | None]
    energy_joules: float | None
    direct: int
    relayed: int
    apart: int
    survived: int
    events: int
    exchanges: Mapping[str, int]

    @property
    def name(self) -> str:
        """Its name in the campaign."""
        return self.choice.id

    @property
    def quantum_safe(self) -> facts.Grade | None:
        """Whether recorded traffic stays secret from quantum computers, as all paths told.

        None if no connection told how its keys were made. What is stated says what can be.
        """
        safe = sum(paths for exchange, paths in self.exchanges.items() if POST_QUANTUM in exchange)
        if not self.exchanges:
            return None
        return "yes" if safe == sum(self.exchanges.values()) else "partly" if safe else "no"


def comparisons(study: Study) -> Comparisons:
    """Return how many times slower each overlay is than the baseline; empty without a baseline."""
    baseline = study.baseline
    if baseline is None:
        return {}
    found: dict[tuple[str, str, str], Ratio] = {}
    for overlay in study.campaign.overlays:
        for scenario in study.campaign.scenarios:
            for program in study.campaign.programs:
                if overlay.id == baseline.id:
                    continue
                ratio = statistics.compare(
                    study.of(overlay.id, scenario.id, program.id).values("online_seconds"),
                    study.of(baseline.id, scenario.id, program.id).values("online_seconds"),
                )
                if ratio is not None:
                    found[overlay.id, scenario.id, program.id] = ratio
    return dict(zip(found, statistics.mark(list(found.values())), strict=True))


def natures(study: Study) -> Mapping[str, Nature]:
    """Return what each program mostly waits for, by what it states and the baseline's figures.

    Large messages are told by their size alone, as a lab's lines may be so fast that they take no
    time there.
    """
    start = model.start_seconds(study)
    found: dict[str, Nature] = {}
    for program in study.campaign.programs:
        votes: list[Nature] = []
        for cell, runs in _cells_of(study, program.id):
            parts = model.parts(study, cell, runs, start)
            if parts is None or parts.rounds is None:
                continue
            if (parts.stated_bytes or 0.0) >= LARGE_BYTES * max(parts.rounds, 1.0):
                votes.append("bytes")
                continue
            seconds: dict[Nature, float] = {
                "rounds": parts.rounds_seconds or 0.0,
                "bytes": parts.bytes_seconds or 0.0,
                "compute": parts.compute_seconds or 0.0,
            }
            votes.append(max(seconds, key=lambda each: seconds[each]))
        found[program.id] = max(sorted(set(votes)), key=votes.count) if votes else "unknown"
    return found


def profiles(study: Study, ratios: Comparisons) -> Sequence[Profile]:
    """Return what is known of each overlay of a campaign, in its order."""
    kinds = natures(study)
    return [_profile(study, ratios, kinds, overlay) for overlay in study.campaign.overlays]


def _profile(
    study: Study, ratios: Comparisons, kinds: Mapping[str, Nature], choice: OverlayChoice
) -> Profile:
    mine = [runs for runs in study.runs.values() if runs.cell.startswith(f"{choice.id}/")]
    setups = [setup for cell, setup in study.ends() if cell.overlay.id == choice.id]
    slow = {key: ratio.value for key, ratio in ratios.items() if key[0] == choice.id}
    groups: dict[Nature, list[float]] = {}
    for (_, _, program), value in slow.items():
        groups.setdefault(kinds[program], []).append(value)
    hidden = {each.id for each in study.campaign.scenarios if each.nats}
    paths = [rule.path for rule in facts.nat_paths(choice.overlay).values()]
    outcomes = facts.resilience().overlays.get(choice.overlay, {})
    survived = [each.survived for each in outcomes.values() if each.survived is not None]
    return Profile(
        choice=choice,
        needs=facts.needs(choice),
        stated=facts.load().overlays.get(facts.key_of(choice), {}),
        ease=facts.ease(choice),
        completed=sum(runs.verdicts["completed"] for runs in mine),
        total=sum(runs.total for runs in mine),
        slowdown=statistics.geometric_mean(list(slow.values())),
        by_nature={
            nature: mean
            for nature, values in groups.items()
            if (mean := statistics.geometric_mean(values)) is not None
        },
        hidden_seconds=_middle(
            [runs for runs in mine if runs.cell.partition("/")[2] in hidden], "online_seconds"
        ),
        overlay_seconds=_median([setup.overlay_seconds for setup in setups]),
        contact_seconds=_median(
            [
                max(seconds)
                for setup in setups
                if (seconds := [p.contact_seconds for p in setup.pairs if p.contact_seconds])
            ]
        ),
        wire_share=_wire_share(mine),
        daemon_cpu_seconds=_middle(mine, "daemon_cpu_seconds"),
        daemon_memory_bytes=_middle(mine, "daemon_peak_memory_bytes"),
        handshakes=_mean_and_most(mine, "handshakes"),
        energy_joules=_middle(mine, "energy_joules"),
        direct=paths.count("direct"),
        relayed=paths.count("relayed"),
        apart=paths.count("none") + paths.count("unsupported"),
        survived=sum(survived),
        events=len(survived),
        exchanges=Counter(p.exchange for setup in setups for p in setup.pairs if p.exchange),
    )


def _cells_of(study: Study, program: str) -> Sequence[tuple[str, Runs]]:
    """Return the cells of the baseline, or of all overlays without one, with a program's runs."""
    baseline = study.baseline
    return [
        (cell, runs)
        for (cell, of), runs in study.runs.items()
        if of == program and (baseline is None or cell.startswith(f"{baseline.id}/"))
    ]


def _wire_share(runs: Sequence[Runs]) -> float | None:
    """Return the bytes on the wire of all programs together, for each byte that they send."""
    known = [
        (wire, sent)
        for each in runs
        if (wire := _middle([each], "wire_bytes")) and (sent := _middle([each], "sent_bytes"))
    ]
    return sum(wire for wire, _ in known) / sum(sent for _, sent in known) if known else None


def _mean_and_most(runs: Sequence[Runs], column: str) -> tuple[float | None, float | None]:
    """Return the mean of a column over all sessions, and its largest value."""
    values = np.concatenate([np.empty(0), *(each.values(column) for each in runs)])
    return (float(values.mean()), float(values.max())) if len(values) else (None, None)


def _middle(runs: Sequence[Runs], column: str) -> float | None:
    """Return the median over programs and scenarios of the medians of a column."""
    return _median([float(np.median(v)) for each in runs if len(v := each.values(column))])


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
