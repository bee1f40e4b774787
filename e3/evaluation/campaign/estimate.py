"""What a campaign would take, before anything is made: its matrix, its time and its money."""

from collections.abc import Iterator
from pathlib import Path

from e3.errors import ResultsError
from e3.evaluation.campaign import overview
from e3.evaluation.campaign.cell import unsupported
from e3.evaluation.campaign.matrix import Matrix
from e3.fleets import FLEETS
from e3.registry import build

CELL_SECONDS = 20.0
"""To make and remove the hosts of a cell of the lab, without knowing better."""

REPETITION_SECONDS = 6.0
"""Of a repetition with its measurements, without knowing better."""


def lines(matrix: Matrix, root: Path, *, jobs: int) -> Iterator[str]:
    """Yield a line for each cell in the order in which they run, then time and money.

    The time follows from results of the same campaign where there are some. A fleet that costs
    money checks its account for this, as before anything is made.
    """
    file = matrix.file
    count = file.repetitions * len(matrix.programs)
    yield (
        f"campaign {file.name}: {len(matrix.cells)} cells, each {len(matrix.programs)} programs x "
        f"{file.repetitions} repetitions; seed {file.seed}"
    )
    cells = matrix.shuffled()
    able = [cell for cell in cells if unsupported(cell) is None]
    hourly = 0.0
    for cell in cells:
        why = unsupported(cell)
        experiment = cell.experiment()
        yield f"  {cell.id}: {(why and f'unsupported: {why}') or f'{count} repetitions'}"
        price = build(FLEETS, experiment.fleet, key="fleet").hourly_usd(experiment)
        hourly = max(hourly, price) if why is None else hourly
    seconds = len(able) * (CELL_SECONDS + count * REPETITION_SECONDS) / jobs
    source = "a guess of 20 s a cell and 6 s a repetition"
    try:
        known = overview.read(root, file.name)
    except ResultsError:
        known = None
    if known is not None and known.left_seconds is not None:
        seconds, source = known.left_seconds / jobs, "what is left, by what has finished"
    yield f"time: about {seconds / 60:.0f} min ({source})"
    if hourly:
        yield (
            f"money: at most {hourly * jobs * seconds / 3600:.2f} USD: up to {hourly:.3f} USD an "
            f"hour and cell, {jobs} at a time"
        )
    else:
        yield "money: none; its hosts are this machine's or yours"
