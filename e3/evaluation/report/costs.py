"""What a session sends from party to party, and what it costs where hosts have a price."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from e3.evaluation.report.study import Study

BITS, MEGA = 8, 1e6
SHOWN_PAIRS = 6


@dataclass(frozen=True, kw_only=True)
class PairBytes:
    """What one party sent to another, by their hosts, as MPyC counts it.

    ``used`` is the part of the path's throughput that it would take if it were spread over all of
    the online time; None if the throughput of that pair is not known.
    """

    source: str
    target: str
    bytes: int
    used: float | None


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A program in a cell: its busiest ordered pairs, of ``number``. The least has ``least``."""

    cell: str
    program: str
    number: int
    least: int
    pairs: Sequence[PairBytes]


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a session of a program costs, with starting, ending and measuring it, in USD."""

    cell: str
    program: str
    usd: float
    hourly_usd: float


def sent(study: Study) -> Sequence[Sent]:
    """Return what parties sent to each other, in each cell and program that has it."""
    found = []
    for (name, program), runs in study.runs.items():
        if not runs.sent_bytes_to:
            continue
        cell, online = study.cells[name], runs.values("online_seconds")
        rates = cell.mbit_per_second("overlay")
        hosts = {pid: host for host, pid in cell.seats.items()}
        pairs = [
            PairBytes(
                source=hosts.get(source, str(source)),
                target=hosts.get(target, str(target)),
                bytes=count,
                used=_used(
                    count, online, rates.get((hosts.get(source, ""), hosts.get(target, "")))
                ),
            )
            for source, row in runs.sent_bytes_to.items()
            for target, count in enumerate(row)
            if source != target
        ]
        pairs.sort(key=lambda pair: (-pair.bytes, pair.source, pair.target))
        found.append(
            Sent(
                cell=name,
                program=program,
                number=len(pairs),
                least=pairs[-1].bytes if pairs else 0,
                pairs=pairs[:SHOWN_PAIRS],
            )
        )
    return found


def _used(count: int, online: np.ndarray, mbit_per_second: float | None) -> float | None:
    if not mbit_per_second or not len(online):
        return None
    return count * BITS / MEGA / float(np.median(online)) / mbit_per_second


def prices(study: Study) -> Sequence[Price]:
    """Return the price of a session in each cell whose hosts cost something."""
    found = []
    for (name, program), runs in study.runs.items():
        setups = study.cells[name].setups
        hourly = setups[-1].hourly_usd if setups else 0.0
        if not hourly or not runs.completed:
            continue
        took = statistics.median(
            sum(parts)
            for parts in zip(
                *(
                    runs.columns[key]
                    for key in ("wall_seconds", "own_seconds", "measuring_seconds")
                ),
                strict=True,
            )
        )
        found.append(Price(cell=name, program=program, usd=hourly * took / 3600, hourly_usd=hourly))
    return found
