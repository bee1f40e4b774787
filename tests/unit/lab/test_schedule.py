import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.lab.links import RegionLink
from e3.lab.schedule import MOST_EARLY_SECONDS, QUEUE_SECONDS, Alarm, DelayLine

pytestmark = pytest.mark.unit


def line(link: RegionLink) -> DelayLine:
    return DelayLine(link, random.Random(1))  # noqa: S311 - a test wants the same each time


def test_a_packet_arrives_after_the_delay() -> None:
    assert line(RegionLink(delay_ms=40.0)).arrival(1.0, 1500) == pytest.approx(1.04)


def test_a_rate_spaces_packets_by_their_size() -> None:
    slow = line(RegionLink(delay_ms=10.0, rate_mbit=12.0))  # 1500 bytes in 1 ms
    arrivals = [slow.arrival(0.0, 1500) for _ in range(3)]
    assert arrivals == pytest.approx([0.011, 0.012, 0.013])


def test_an_idle_link_with_a_rate_saves_nothing_up() -> None:
    slow = line(RegionLink(delay_ms=0.0, rate_mbit=12.0))
    slow.arrival(0.0, 1500)
    assert slow.arrival(5.0, 1500) == pytest.approx(5.001)


def test_a_queue_has_an_end() -> None:
    slow = line(RegionLink(delay_ms=0.0, rate_mbit=12.0))
    kept = sum(slow.arrival(0.0, 1500) is not None for _ in range(500))
    assert kept == pytest.approx(QUEUE_SECONDS * 1000, abs=2)
    assert slow.arrival(1.0, 1500) is not None


def test_loss_takes_its_share() -> None:
    lossy = line(RegionLink(delay_ms=1.0, loss=0.25))
    lost = sum(lossy.arrival(0.0, 1500) is None for _ in range(4000))
    assert lost == pytest.approx(1000, rel=0.1)
    assert line(RegionLink(delay_ms=1.0, loss=1.0)).arrival(0.0, 1) is None


def test_a_packet_that_is_overtaken_delays_no_other() -> None:
    mixed = line(RegionLink(delay_ms=1.0, reordering=0.25))
    arrivals = [mixed.arrival(i / 1000, 1500) or 0.0 for i in range(4000)]
    late = [i for i, at in enumerate(arrivals) if at > i / 1000 + 0.0011]
    assert len(late) == pytest.approx(1000, rel=0.1)
    assert all(
        at == pytest.approx(i / 1000 + 0.001) for i, at in enumerate(arrivals) if i not in late
    )
    assert all(arrivals[i] > arrivals[i + 1] for i in late if i + 1 not in late and i < 3999)


def test_a_link_breaks_and_comes_back() -> None:
    link = RegionLink(delay_ms=1.0, breaks_every_seconds=10.0, breaks_for_seconds=2.0)
    broken = DelayLine(link, began=100.0)
    for now, works in ((100.0, True), (107.9, True), (108.1, False), (109.9, False), (110.1, True)):
        assert (broken.arrival(now, 1500) is not None) == works
        assert (broken.arrival(now + 50.0, 1500) is not None) == works
    assert not broken.is_constant


@given(
    st.lists(st.floats(0, 0.01), min_size=1, max_size=50),
    st.floats(0, 100),
    st.one_of(st.none(), st.floats(1, 1000)),
)
def test_packets_keep_their_order_and_are_never_early(
    gaps: list[float], jitter_ms: float, rate_mbit: float | None
) -> None:
    link = line(RegionLink(delay_ms=20.0, jitter_ms=jitter_ms, rate_mbit=rate_mbit))
    now, last = 100.0, 0.0
    for gap in gaps:
        now += gap
        arrival = link.arrival(now, 1500)
        if arrival is not None:
            assert arrival >= max(last, now + 0.02)
            last = arrival


def lateness(alarm: Alarm, sleeps: int, *, late: float) -> float:
    """Return how late an alarm wakes for the last of so many things, each due after a second."""
    for due in range(1, sleeps + 1):
        began = due - 1.0
        woken = began + alarm.timeout(due, began) + late
        alarm.woke(woken)
    return woken - due


@pytest.mark.parametrize("late", [0.0, 0.0001, 0.0002])
def test_who_is_always_woken_late_by_as_much_is_soon_awake_in_time(late: float) -> None:
    alarm = Alarm()
    assert lateness(alarm, 1, late=late) == pytest.approx(late)
    assert lateness(alarm, 50, late=late) == pytest.approx(0, abs=1e-6)
    assert lateness(alarm, 50, late=0.0) == pytest.approx(0, abs=1e-6)


@given(st.lists(st.floats(-1, 10)))
def test_no_alarm_is_earlier_than_it_may(lates: list[float]) -> None:
    alarm = Alarm()
    for late in lates:
        alarm.woke(alarm.timeout(1.0, 0.0) + late)
        assert 1 - MOST_EARLY_SECONDS - 1e-9 <= alarm.timeout(1.0, 0.0) <= 1
    assert alarm.timeout(1.0, 2.0) == 0
