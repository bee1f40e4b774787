"""A session of which one party runs here: what the others say of their ends only confirms."""

from pathlib import Path

import pytest

from e3.interfaces import Endpoint
from e3.session.alone import Alone, here, with_others
from e3.session.plan import Seat
from e3.session.verdicts import End, Verdict, decide

pytestmark = pytest.mark.unit

SEATS = tuple(
    Seat(pid=pid, host=f"host-{pid}", endpoint=Endpoint(address=f"10.77.0.{pid + 1}", port=1))
    for pid in range(3)
)
COMPLETED = End(pid=1, host="host-1", how="exited", phase="done", exit=0)
BEREFT = End(pid=1, host="host-1", how="exited", phase="computing", exit=1, lost=(2,))


def alone(**others: End) -> Alone:
    known = {end.pid: end for end in others.values()}
    return Alone(pid=1, session="20260101-000000-abcd", others=known, queue=Path("queue"))


def judged(end: End, **others: End) -> tuple[Verdict, str]:
    outcome = decide(with_others([end], SEATS, alone(**others)), silent=False)
    return outcome.verdict, outcome.reason


def test_only_its_own_seat_is_here() -> None:
    assert [seat.pid for seat in here(SEATS, alone())] == [1]
    assert here(SEATS, None) == list(SEATS)


def test_a_party_that_completed_speaks_for_itself_alone() -> None:
    assert judged(COMPLETED) == (Verdict.COMPLETED, "party 1 (host-1) completed")


def test_a_lost_peer_that_says_nothing_is_one_partys_word() -> None:
    verdict, reason = judged(BEREFT)
    assert verdict is Verdict.UNREACHABLE
    assert "says, and nobody else, that its connection to party 2 (host-2) broke" in reason


def test_a_lost_peer_that_tells_its_failure_is_named_as_the_cause() -> None:
    failed = End(pid=2, host="host-2", how="exited", phase="failed", exit=1, detail="its user left")
    verdict, reason = judged(BEREFT, other=failed)
    assert verdict is Verdict.PARTY_FAILED
    assert reason == "party 2 (host-2) exited with status 1: its user left"


def test_what_others_claim_ends_no_party_that_completed() -> None:
    failed = End(pid=2, host="host-2", how="exited", phase="failed", exit=1)
    assert judged(COMPLETED, other=failed)[0] is Verdict.COMPLETED
