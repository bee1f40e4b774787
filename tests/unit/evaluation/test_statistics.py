"""Medians, intervals, and which differences are marked; and that an A/A campaign marks nothing."""

import numpy as np
import pytest

from e3.evaluation.report import statistics
from e3.evaluation.report.statistics import FEWEST, Ratio, compare, mark, summarise
from e3.evaluation.report.study import Values

pytestmark = pytest.mark.unit


def sample(seed: int, number: int, middle: float = 1.0) -> Values:
    return middle * np.random.default_rng(seed).lognormal(0, 0.05, number)


def test_an_empty_sample_has_no_summary() -> None:
    assert summarise(np.array([])) is None
    assert compare(np.array([]), sample(1, 9)) is None
    assert compare(sample(1, 9), np.array([])) is None


def test_one_value_has_a_median_and_no_interval() -> None:
    found = summarise(np.array([2.0]))
    assert found is not None
    assert (found.median, found.low, found.high, found.count) == (2.0, None, None, 1)
    ratio = compare(np.array([2.0]), np.array([4.0]))
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.chance) == (0.5, None, None)
    assert not mark([ratio])[0].marked


def test_an_interval_needs_as_many_values_as_its_confidence() -> None:
    few, enough = summarise(sample(2, FEWEST - 1)), summarise(sample(2, FEWEST))
    assert few is not None
    assert enough is not None
    assert few.low is None
    assert enough.low is not None
    assert enough.high is not None
    assert enough.low <= enough.median <= enough.high


def test_intervals_cover_the_true_median_as_often_as_they_say() -> None:
    covered = 0
    for seed in range(200):
        found = summarise(sample(seed, 11))
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1.0 <= found.high
    assert covered >= 180


def test_a_baseline_of_zero_has_no_ratio() -> None:
    assert compare(sample(3, 9), np.zeros(9)) is None


def test_the_same_figures_give_the_same_answer() -> None:
    statistics._orders.cache_clear()  # noqa: SLF001 -- as in another process
    first = compare(sample(4, 12, 1.1), sample(5, 12))
    statistics._orders.cache_clear()  # noqa: SLF001 -- the same
    assert compare(sample(4, 12, 1.1), sample(5, 12)) == first


def test_ties_are_no_difference() -> None:
    same = np.full(10, 3.0)
    ratio = compare(same, same)
    assert ratio is not None
    assert ratio.chance == 1.0
    assert not mark([ratio])[0].marked


def test_a_difference_of_a_fifth_is_marked() -> None:
    ratios = [compare(sample(seed, 10), sample(100 + seed, 10)) for seed in range(20)]
    ratios.append(compare(sample(200, 10, 1.2), sample(201, 10)))
    marked = mark([ratio for ratio in ratios if ratio is not None])
    assert marked[-1].marked
    assert marked[-1].low is not None
    assert marked[-1].low > 1


def test_two_repetitions_can_mark_nothing() -> None:
    ratio = compare(np.array([9.0, 9.1]), np.array([1.0, 1.1]))
    assert ratio is not None
    assert not mark([ratio])[0].marked


def test_an_overlay_beside_itself_is_told_apart_in_no_more_than_one_cell_of_twenty() -> None:
    """Forty campaigns of twenty-five cells in which nothing differs."""
    marked = total = 0
    for campaign in range(40):
        ratios: list[Ratio] = []
        for cell in range(25):
            seed = 10_000 + 100 * campaign + 2 * cell
            ratio = compare(sample(seed, 10), sample(seed + 1, 10))
            assert ratio is not None
            ratios.append(ratio)
        marked += sum(ratio.marked for ratio in mark(ratios))
        total += len(ratios)
    assert marked <= 0.05 * total


def test_a_large_sample_is_drawn_in_bounded_memory() -> None:
    found = summarise(sample(6, 30_000))
    assert found is not None
    assert found.low is not None
    assert 0.99 < found.low <= found.median
