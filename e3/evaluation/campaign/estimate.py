"""What a campaign would take, before anything is made: its matrix, its time and its money.

The times of the first estimate are those of a machine of two cores that had nothing else to do, and
of the programs in campaigns/programs; what a session takes grows with the slowest pair's distance.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from e3.errors import ResultsError
from e3.evaluation.campaign import overview
from e3.evaluation.campaign.cell import unsupported
from e3.evaluation.campaign.matrix import Matrix, MatrixCell
from e3.evaluation.campaign.observe import planned
from e3.experiment import Experiment
from e3.fleets import FLEETS
from e3.lab.links import default_rtt_ms
from e3.registry import build

CELL_SECONDS, HOST_SECONDS = 12.0, 1.5
"""To make, join and remove the hosts of a cell of the lab: of all, and more for each."""

SESSION_SECONDS, TRIPS = 1.9, 14.0
"""A session with its start and end: without distance, and in round trips of the slowest pair."""

PACKETS_PER_SECOND = 2000.0
OBSERVED_SECONDS = {"canary": 9.0, "attack": 4.0, "session": 0.5}
OTHER_SECONDS = 2.0
"""Observations; a session besides takes what each does."""


def lines(matrix: Matrix, root: Path, *, jobs: int, only: Sequence[str] = ()) -> Iterator[str]:
    """Yield a line for each cell in the order in which they run, then time and money.

    ``only`` names the cells that would be run (`Matrix.only`), by default all.

    The time follows from results of the same campaign where there are some. A fleet that costs
    money checks its account for this, as before anything is made.
    """
    file, matrix = matrix.file, matrix.only(only)
    yield (
        f"campaign {file.name}: {len(matrix.cells)} cells, up to {len(matrix.programs)} programs x "
        f"{file.repetitions} repetitions in each; seed {file.seed}"
    )
    hourly = seconds = 0.0
    for cell in matrix.shuffled():
        why, experiment = unsupported(cell), cell.experiment()
        price = build(FLEETS, experiment.fleet, key="fleet").hourly_usd(experiment)
        if why is not None:
            yield f"  {cell.id}: unsupported: {why}"
            continue
        took = cell_seconds(matrix, cell, experiment)
        seconds, hourly = seconds + took, max(hourly, price)
        count = file.repetitions * len(matrix.programs_of(cell))
        seen = len(planned(matrix, cell))
        told = f", {seen} observations" if seen else ""
        yield f"  {cell.id}: {count} repetitions{told}, about {took / 60:.1f} min"
    source = "an estimate for the lab on two idle cores"
    try:
        known = overview.read(root, file.name)
    except ResultsError:
        known = None
    if known is not None and known.left_seconds is not None and not only:
        seconds, source = known.left_seconds, "what is left, by what has finished"
    yield f"time: about {seconds / jobs / 60:.0f} min ({source})"
    if hourly:
        yield (
            f"money: at most {hourly * seconds / 3600:.2f} USD: up to {hourly:.3f} USD an "
            f"hour and cell, {jobs} at a time"
        )
    else:
        yield "money: none; its hosts are this machine's or yours"


def cell_seconds(matrix: Matrix, cell: MatrixCell, experiment: Experiment) -> float:
    """Return an estimate of what a cell takes. Pure."""
    measure, hosts = matrix.file.measure, len(experiment.host_names)
    regions = sorted(experiment.regions)
    pairs = [(one, other) for one in regions for other in regions if one <= other]
    trip = max(experiment.latency_ms.get(p, default_rtt_ms(*p)) for p in pairs) / 1000
    session = SESSION_SECONDS + TRIPS * trip
    echoes = 2 * (trip + measure.echoes * hosts * (hosts - 1) / PACKETS_PER_SECOND)
    flows = 2 * measure.throughput_pairs * (measure.throughput_seconds + 0.5)
    flows = flows if measure.throughput_seconds else 0.0
    count = matrix.file.repetitions * len(matrix.programs_of(cell))
    observed = sum(
        OBSERVED_SECONDS.get(each.kind, OTHER_SECONDS)
        + (session if each.kind == "session" else 0.0)
        for each in planned(matrix, cell)
    )
    made = CELL_SECONDS + HOST_SECONDS * hosts
    return made + flows + count * (session + echoes) + observed
