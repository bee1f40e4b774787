"""Where the time of a session goes: what rounds, bytes and computation would take, and the rest.

A program states its sequential rounds, and the bytes that a party sends. In each round a message
goes one way, half a round trip. A product needs a message of each other party, so that a round
takes half of the slowest pair's round trip. To open a value, a party waits for the t parties before
it alone (`mpyc.runtime.Runtime.output`): so many rounds in a row take, each, the largest mean of
delays along a cycle of who waits for whom. With three parties and t = 1 that is the mean around the
ring.

    openings x (largest mean of a cycle) + other rounds x (half of the slowest pair's round trip)
    + bytes / (the slowest pair's throughput) + processor time

The rest is what was measured less that sum. It is negative where MPyC computes or sends while other
messages are on their way.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from e3.evaluation.report.study import Cell, Runs, Study

BITS, MEGA = 8, 1e6
LAB = "lab"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a session's online time, in seconds; None for what is not known.

    ``rtt_ms`` and ``mbit_per_second`` are of the slowest pair, ``opening_ms`` is of one of many
    ``openings`` in a row.
    """

    online_seconds: float
    rounds: float | None
    stated_bytes: float | None
    rtt_ms: float | None
    mbit_per_second: float | None
    rounds_seconds: float | None
    bytes_seconds: float | None
    compute_seconds: float | None
    openings: float = 0.0
    opening_ms: float | None = None

    @property
    def rest_seconds(self) -> float | None:
        """What the parts leave of the online time; None if a part is not known."""
        parts = (self.rounds_seconds, self.bytes_seconds, self.compute_seconds)
        known = [part for part in parts if part is not None]
        return self.online_seconds - sum(known) if len(known) == len(parts) else None


def start_seconds(study: Study) -> float:
    """Return the processor time of a party that hardly computes: the least of the campaign.

    It is Python's start and the import of MPyC, before parties are connected.
    """
    values = [runs.values("busiest_cpu_seconds") for runs in study.runs.values()]
    return min((float(each.min()) for each in values if len(each)), default=0.0)


def parts(study: Study, cell: str, runs: Runs, start: float) -> Parts | None:
    """Return the parts of a program's time in a cell; None if nothing was measured."""
    online = _median(runs, "online_seconds")
    if online is None:
        return None
    of = study.cells[cell]
    rounds, stated = _median(runs, "stated_rounds"), _median(runs, "stated_bytes")
    trips = of.rtt_ms("overlay") or of.rtt_ms("underlay")
    rtt_ms = max(trips.values(), default=None)
    (chosen,) = (each for each in study.campaign.programs if each.id == runs.program)
    everybody = chosen.parties in {None, len(of.seats)}
    opening_ms = _opening_ms(of, trips) if everybody else None
    openings = (_median(runs, "stated_openings") or 0.0) if opening_ms is not None else 0.0
    rates = of.mbit_per_second("overlay") or of.mbit_per_second("underlay")
    rate = min(rates.values(), default=None)
    waiting = None
    if rounds is not None and rtt_ms is not None:
        waiting = (max(rounds - openings, 0.0) * rtt_ms / 2 + openings * (opening_ms or 0.0)) / 1000
    return Parts(
        online_seconds=online,
        rounds=rounds,
        stated_bytes=stated,
        rtt_ms=rtt_ms,
        mbit_per_second=rate,
        rounds_seconds=waiting,
        bytes_seconds=stated * BITS / MEGA / rate if stated is not None and rate else None,
        compute_seconds=_compute(of, runs, start),
        openings=openings,
        opening_ms=opening_ms,
    )


def _opening_ms(cell: Cell, trips: Mapping[tuple[str, str], float]) -> float | None:
    """Return what one of many openings in a row takes; None if a delay is not known.

    The threshold is MPyC's default for one party a host, as programs of campaigns do not set it.
    """
    seats = cell.seats
    number = len(seats)
    one_way_ms = {
        (seats[source], seats[target]): trip / 2
        for (source, target), trip in trips.items()
        if source in seats and target in seats
    }
    threshold = (number - 1) // 2
    waits = {
        ((pid - step) % number, pid): one_way_ms.get(((pid - step) % number, pid))
        for pid in range(number)
        for step in range(1, threshold + 1)
    }
    known = {pair: delay for pair, delay in waits.items() if delay is not None}
    return largest_cycle_mean(number, known) if known and len(known) == len(waits) else None


def largest_cycle_mean(number: int, delays: Mapping[tuple[int, int], float]) -> float | None:
    """Return the largest mean of delays along a cycle of a graph; None if there is no cycle.

    Every node is to be reached from node 0 (Karp, 1978). So long, in the long run, takes each round
    of parties of which each waits for those that send to it.
    """
    longest = [[-math.inf] * number for _ in range(number + 1)]
    longest[0][0] = 0.0
    for steps in range(1, number + 1):
        for (source, target), delay in delays.items():
            reached = longest[steps - 1][source] + delay
            longest[steps][target] = max(longest[steps][target], reached)
    means = [
        min(
            (longest[number][node] - longest[steps][node]) / (number - steps)
            for steps in range(number)
            if longest[steps][node] > -math.inf
        )
        for node in range(number)
        if longest[number][node] > -math.inf
    ]
    return max(means, default=None)


def _compute(cell: Cell, runs: Runs, start: float) -> float | None:
    """Return the processor time that a session cannot do without.

    That of the busiest party; in a lab, where all parties share one machine, at least the sum over
    all parties divided by its processors.
    """
    busiest, together = _median(runs, "busiest_cpu_seconds"), _median(runs, "cpu_seconds")
    if busiest is None or together is None:
        return None
    own = max(0.0, busiest - start)
    if cell.scenario.fleet != LAB or not cell.setups:
        return own
    last = cell.setups[-1]
    return max(own, (together - len(last.hosts) * start) / last.machine.cores)


def _median(runs: Runs, column: str) -> float | None:
    values = runs.values(column)
    return float(np.median(values)) if len(values) else None
