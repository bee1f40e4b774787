"""Where the time of a session goes: what rounds, bytes and computation would take, and the rest.

A program states its sequential rounds, and the bytes that a party sends. In each round a message
goes one way, half a round trip. If all parties moved in step, a session would take

    rounds x (half of the slowest pair's round trip) + bytes / (the slowest pair's throughput)
    + processor time

The rest is what was measured less that sum. It is negative where MPyC computes or sends while other
messages are on their way, and where not every round has to wait for the slowest pair.
"""

from dataclasses import dataclass

import numpy as np

from e3.evaluation.report.study import Cell, Runs, Study

BITS, MEGA = 8, 1e6
LAB = "lab"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of a session's online time, in seconds; None for what is not known.

    ``rtt_ms`` and ``mbit_per_second`` are of the slowest pair.
    """

    online_seconds: float
    rounds: float | None
    stated_bytes: float | None
    rtt_ms: float | None
    mbit_per_second: float | None
    rounds_seconds: float | None
    bytes_seconds: float | None
    compute_seconds: float | None

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
    rtt_ms = max((of.rtt_ms("overlay") or of.rtt_ms("underlay")).values(), default=None)
    rates = of.mbit_per_second("overlay") or of.mbit_per_second("underlay")
    rate = min(rates.values(), default=None)
    known = rounds is not None and rtt_ms is not None
    return Parts(
        online_seconds=online,
        rounds=rounds,
        stated_bytes=stated,
        rtt_ms=rtt_ms,
        mbit_per_second=rate,
        rounds_seconds=rounds * rtt_ms / 2000 if known else None,  # type: ignore[operator]
        bytes_seconds=stated * BITS / MEGA / rate if stated is not None and rate else None,
        compute_seconds=_compute(of, runs, start),
    )


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
