import pytest

from e3.lab.measurement import deviations

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("asked_ms", "measured_ms", "good"),
    [
        (82.0, 82.6, True),
        (82.0, 90.1, True),
        (82.0, 90.3, False),
        (82.0, 73.0, False),
        (0.5, 1.4, True),
        (0.5, 1.6, False),
        (0.0, 0.1, True),
    ],
)
def test_ten_percent_or_one_millisecond(asked_ms: float, measured_ms: float, good: bool) -> None:  # noqa: FBT001
    wrong = deviations({("a", "b"): measured_ms}, {("a", "b"): asked_ms}, {("a", "b"): 0.0})
    assert (not wrong) is good


def test_jitter_makes_round_trips_longer_and_never_shorter() -> None:
    pair = ("a", "b")
    assert not deviations({pair: 60.0}, {pair: 40.0}, {pair: 20.0})
    assert deviations({pair: 65.0}, {pair: 40.0}, {pair: 20.0})
    assert deviations({pair: 30.0}, {pair: 40.0}, {pair: 20.0})


def test_a_pair_that_is_off_is_named_with_both_figures() -> None:
    measured = {("a", "b"): 9.0, ("a", "c"): None}
    slack_ms = dict.fromkeys(measured, 0.0)
    assert deviations(measured, {("a", "b"): 5.0, ("a", "c"): 5.0}, slack_ms) == [
        "a-b takes 9.0 ms instead of 5.0 ms",
        "a-c does not answer",
    ]
