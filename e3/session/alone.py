"""A session of which one party runs here and the others elsewhere, each watched by its own user.

What the others say of their own ends counts as their claim, as everything that a runner says does
(`e3.session.verdicts`): it can confirm what this party saw, and cannot end a party here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e3.session.plan import Seat
from e3.session.verdicts import End

ELSEWHERE = "running on its own machine"


@dataclass(frozen=True, kw_only=True)
class Alone:
    """Which party runs here: ``pid``, in the session whose name all parties have agreed.

    ``others`` are the ends of other parties, as they tell them; it is read whenever one is needed.
    The evidence here has another name. Sessions with the same ``queue``, a folder, take turns:
    those of one room.
    """

    pid: int
    session: str
    others: Mapping[int, End]
    queue: Path


def here(seats: Sequence[Seat], alone: Alone | None) -> list[Seat]:
    """Return the seats of the parties that run here: all of them without ``alone``."""
    return [seat for seat in seats if alone is None or seat.pid == alone.pid]


def with_others(ends: Sequence[End], seats: Sequence[Seat], alone: Alone | None) -> list[End]:
    """Return the ends of all parties by pid; those elsewhere run on, unless they tell their end.

    If nothing failed, only the ends of this machine's parties are known to have completed.
    """
    if alone is None or not any(end.failed or end.lost for end in ends):
        return list(ends)
    known = {end.pid: end for end in ends}
    for seat in seats:
        if seat.pid not in known:
            waiting = End(pid=seat.pid, host=seat.host, how="stopped", phase=ELSEWHERE)
            known[seat.pid] = alone.others.get(seat.pid, waiting)
    return [known[pid] for pid in sorted(known)]
