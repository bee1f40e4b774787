"""Verdicts from the ends of parties: the first cause, whichever report came first."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.session.verdicts import EXIT_STATUS, End, How, Verdict, decide, timed_out

pytestmark = pytest.mark.unit


def end(pid: int, how: How = "exited", **facts: Any) -> End:  # noqa: ANN401 -- fields of End
    return End(**{"pid": pid, "host": f"h{pid}", "how": how, "phase": "computing", **facts})


STOPPED = [end(pid, "stopped") for pid in range(4)]
FINE = [end(pid, exit=0) for pid in range(4)]


@pytest.mark.parametrize(
    ("ends", "verdict", "reason"),
    [
        (FINE[:3], "completed", "all 3 parties completed"),
        (FINE[:1], "completed", "party 0 (h0) completed"),
        (
            [STOPPED[0], end(1, exit=1, detail="ValueError: no"), STOPPED[2]],
            "party-failed",
            "party 1 (h1) exited with status 1: ValueError: no",
        ),
        (
            [end(0, exit=1, detail="AttributeError", lost=(2,)), STOPPED[1], end(2, exit=-9)],
            "party-failed",
            "party 2 (h2) was killed by SIGKILL",
        ),
        (
            [end(0, exit=1, lost=(1,)), end(1, exit=1, lost=(2,)), end(2, exit=3)],
            "party-failed",
            "party 2 (h2) exited with status 3",
        ),
        (
            [end(0, exit=1, lost=(1,)), end(1, "gone", detail="silent")],
            "unreachable",
            "party 1 (h1) is gone: silent",
        ),
        (
            [end(0, exit=1, detail="OSError", lost=(1,), loss="closed by peer"), STOPPED[1]],
            "unreachable",
            (
                "party 0 (h0) says, and nobody else, that its connection to party 1 (h1) broke "
                "(closed by peer); "
                "then party 0 (h0) exited with status 1: OSError"
            ),
        ),
        (
            [end(0, exit=1, lost=(1,)), end(1, exit=1, lost=(0,), loss="Connection timed out")],
            "unreachable",
            (
                "the connection between party 0 (h0) and party 1 (h1) broke "
                "(Connection timed out); "
                "then party 0 (h0) exited with status 1"
            ),
        ),
        (
            [FINE[0], end(1, exit=1, lost=(0,)), end(2, exit=1, lost=(0, 1))],
            "party-failed",
            (
                "party 0 (h0) ended while others still needed it; "
                "then party 1 (h1) exited with status 1"
            ),
        ),
        (
            [end(0, exit=70, detail="posix.system", accused=2), STOPPED[1], end(2, exit=1)],
            "party-failed",
            (
                "party 2 (h2) sent party 0 (h0) a pickle with posix.system, which MPyC never "
                "sends; it was not read"
            ),
        ),
        (
            [end(0, "refused", detail="port 1 of x is in use"), STOPPED[1]],
            "party-failed",
            "party 0 (h0) did not start: port 1 of x is in use",
        ),
        (
            [end(0, "flooded", detail="it printed more than 1 MB"), STOPPED[1]],
            "party-failed",
            "party 0 (h0) was stopped: it printed more than 1 MB",
        ),
    ],
)
def test_the_first_cause(ends: list[End], verdict: str, reason: str) -> None:
    outcome = decide(ends, silent=False)
    assert (outcome.verdict, outcome.reason) == (verdict, reason)
    assert bool(outcome.advice) is (verdict != "completed")


@pytest.mark.parametrize(
    ("ends", "concerned"),
    [
        ([end(0, exit=1, lost=(2,)), *STOPPED[1:3]], ()),
        ([end(0, exit=1, lost=(1, 2)), end(1, "stopped", lost=(0,), left_by=(0,)), STOPPED[2]], ()),
        (
            [
                end(0, exit=1, lost=(1,)),
                end(1, exit=1, lost=(0,), left_by=(0,)),
                end(2, exit=1, lost=(0,), left_by=(0,)),
            ],
            (),
        ),
        ([end(0, exit=1, lost=(1,)), end(1, exit=0, parted=True), STOPPED[2]], ()),
        ([end(0, exit=1, lost=(1,)), end(1, exit=0), STOPPED[2]], (1,)),
        ([end(0, exit=1, lost=(2,)), end(1, "stopped", lost=(2,)), STOPPED[2]], (0, 1, 2)),
        ([end(0, exit=1, lost=(1,)), end(1, "stopped", lost=(0,)), STOPPED[2]], (0, 1)),
        ([end(0, exit=70, detail="posix.system", accused=2), *STOPPED[1:3]], ()),
        (
            [
                end(0, exit=70, detail="posix.system", accused=2),
                STOPPED[1],
                end(2, exit=1, lost=(0,), left_by=(0,)),
            ],
            (),
        ),
        (
            [
                end(0, exit=70, detail="posix.system", accused=2),
                end(1, "stopped", accused=2),
                STOPPED[2],
            ],
            (2,),
        ),
        ([end(0, exit=70, detail="x", accused=2), end(1, exit=3), STOPPED[2]], (1,)),
        ([end(0, "incompatible", detail="x", about=(2,)), *STOPPED[1:3]], (2,)),
        ([end(0, "incompatible", detail="x", about=()), *STOPPED[1:3]], ()),
        ([end(0, "incompatible", detail="x"), *STOPPED[1:3]], (0,)),
    ],
)
def test_whom_a_failure_is_about(ends: list[End], concerned: tuple[int, ...]) -> None:
    outcome = decide(ends, silent=False)
    assert outcome.parties == concerned, outcome.reason
    assert outcome.advice


PIDS = st.lists(st.integers(0, 3), max_size=3, unique=True).map(tuple)


@st.composite
def any_ends(draw: st.DrawFn) -> list[End]:
    """Return ends as any claims of any parties may make them."""
    ends = []
    for pid in range(draw(st.integers(1, 4))):
        how = draw(st.sampled_from(get_args(How)))
        status = draw(st.sampled_from([0, 1, 70, -9])) if how == "exited" else None
        lost = draw(PIDS)
        ends.append(
            end(
                pid,
                how,
                exit=status,
                lost=lost,
                left_by=tuple(peer for peer in lost if draw(st.booleans())),
                accused=draw(st.none() | st.integers(0, 3)),
                about=draw(st.none() | PIDS),
                parted=draw(st.booleans()),
            )
        )
    known = {one.pid for one in ends}

    def others(one: End, pids: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(pid for pid in pids if pid in known - {one.pid})

    return [
        replace(
            one,
            lost=others(one, one.lost),
            left_by=others(one, one.left_by),
            accused=one.accused if one.accused in known - {one.pid} else None,
        )
        for one in ends
    ]


@given(any_ends())
def test_any_ends_have_an_outcome(ends: list[End]) -> None:
    outcome = decide(ends, silent=False)
    assert (outcome.verdict == "completed") is not any(one.failed for one in ends)
    assert set(outcome.parties) <= {one.pid for one in ends}
    assert bool(outcome.advice) is (outcome.verdict != "completed")


def test_silence_is_said() -> None:
    outcome = decide(FINE, silent=True)
    assert outcome.verdict == "completed"
    assert "none printed anything" in outcome.reason


def test_a_deadline_names_who_did_what() -> None:
    ends = [
        end(2, "stopped", phase="running"),
        end(0, "stopped"),
        end(1, "stopped"),
        end(3, "stopped", lost=(2,), detail="IndexError: 1"),
    ]
    outcome = timed_out(ends, 30.0)
    assert outcome.parties == (0, 1, 2, 3)
    assert outcome.reason == (
        "not done after 30 s; party 0 (h0), party 1 (h1): computing; party 2 (h2): running; "
        "party 3 (h3): computing (it lost party 2, IndexError: 1)"
    )


def test_each_verdict_has_an_exit_status_of_its_own() -> None:
    assert set(EXIT_STATUS) == set(Verdict)
    assert len(set(EXIT_STATUS.values())) == len(Verdict)
    assert [verdict for verdict, status in EXIT_STATUS.items() if status == 0] == ["completed"]
