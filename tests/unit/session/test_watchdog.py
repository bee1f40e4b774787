"""What takes too long, tested without waiting."""

from collections.abc import Sequence

import pytest

from e3.experiment import Limits
from e3.session.verdicts import End, Outcome, Verdict
from e3.session.watchdog import PartyMilestones, overdue

pytestmark = pytest.mark.unit

LIMITS = Limits(ship_seconds=10, connect_seconds=5)
DONE = PartyMilestones(ready_seconds=1, connecting_seconds=1, connected_seconds=1)


def look(
    *milestones: PartyMilestones, now: float, lost: Sequence[tuple[int, ...]] = ()
) -> Outcome | None:
    ends = [
        End(
            pid=i,
            host=f"h{i}",
            how="stopped",
            phase="waiting",
            lost=lost[i] if i < len(lost) else (),
        )
        for i in range(len(milestones))
    ]
    return overdue(milestones, ends, now=now, deadline_seconds=100, limits=LIMITS)


def test_nothing_is_overdue_before_its_time() -> None:
    assert look(PartyMilestones(), PartyMilestones(), now=9) is None
    assert look(DONE, DONE, now=99) is None
    assert look(DONE, PartyMilestones(ready_seconds=1), now=6) is None


def test_a_host_that_does_not_start() -> None:
    outcome = look(DONE, PartyMilestones(), now=11)
    assert outcome is not None
    assert (outcome.verdict, outcome.parties) == (Verdict.UNREACHABLE, (1,))
    assert outcome.reason.startswith("not all hosts have started within 10 s; party 1 (h1)")


def test_a_party_that_still_agrees_says_itself_who_is_missing() -> None:
    agreeing = PartyMilestones(ready_seconds=1, agreeing=True)
    assert look(DONE, agreeing, now=20) is None
    outcome = look(DONE, agreeing, now=29)
    assert outcome is not None
    assert (outcome.verdict, outcome.parties) == (Verdict.TIMED_OUT, (1,))


def test_a_party_that_does_not_come_to_connect() -> None:
    waits = PartyMilestones(ready_seconds=1, connecting_seconds=2)
    outcome = look(waits, PartyMilestones(ready_seconds=1), now=8)
    assert outcome is not None
    assert (outcome.verdict, outcome.parties) == (Verdict.TIMED_OUT, (1,))


def test_parties_that_do_not_reach_each_other() -> None:
    waits = PartyMilestones(ready_seconds=1, connecting_seconds=2)
    outcome = look(waits, waits, DONE, now=8)
    assert outcome is not None
    assert (outcome.verdict, outcome.parties) == (Verdict.UNREACHABLE, (0, 1))


def test_parties_that_lost_each_other_and_go_on() -> None:
    loser = PartyMilestones(
        ready_seconds=1, connecting_seconds=1, connected_seconds=1, lost_seconds=20
    )
    assert look(loser, loser, now=22, lost=((1,), (0,))) is None
    outcome = look(loser, loser, now=24, lost=((1,), (0,)))
    assert outcome is not None
    assert (outcome.verdict, outcome.parties) == (Verdict.UNREACHABLE, (0, 1))
    assert outcome.reason == "the connection between party 0 (h0) and party 1 (h1) broke"


def test_a_party_that_alone_says_that_it_lost_another_condemns_nobody() -> None:
    loser = PartyMilestones(
        ready_seconds=1, connecting_seconds=1, connected_seconds=1, lost_seconds=20
    )
    outcome = look(loser, DONE, now=24, lost=((1,),))
    assert outcome is not None
    assert (outcome.verdict, outcome.parties) == (Verdict.UNREACHABLE, ())
    assert outcome.reason == (
        "party 0 (h0) says, and nobody else, that its connection to party 1 (h1) broke"
    )


def test_the_deadline() -> None:
    outcome = look(DONE, DONE, now=101)
    assert outcome is not None
    assert outcome.verdict is Verdict.TIMED_OUT


def test_many_parties_have_more_time() -> None:
    """Each beyond the first 20 has two seconds: all may share the processors of one machine."""
    parties = [PartyMilestones(ready_seconds=1)] * 59 + [PartyMilestones()]
    assert look(*parties, now=89) is None
    outcome = look(*parties, now=91)
    assert outcome is not None
    assert outcome.reason.startswith("not all hosts have started within 90 s; party 59 (h59)")
