"""Medians with intervals, ratios of medians, and which differences are marked.

Everything is drawn from fixed seeds: the same figures give the same answer everywhere. NumPy has
all that this needs; scipy would take a second to import for what are four lines here (ADR 39).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

CONFIDENCE = 0.95
LEVEL = 0.05
"""The share of false discoveries among the marked differences that is accepted."""

RESAMPLES = 2_000
PERMUTATIONS = 9_999
FEWEST = 6
"""With fewer values no interval has the confidence: two of five medians' bounds cover 93.75 %."""

MOST_DRAWN = 2_000_000
"""The most numbers that are drawn at once, so that memory is bounded."""

MOST_PERMUTED = 100
"""The most values of a sample that a permutation test takes; of more, evenly spaced ones."""

SEED = 20_261


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A sample in numbers; ``low`` and ``high`` bound its median with `CONFIDENCE`.

    They are None with fewer than `FEWEST` values.
    """

    count: int
    median: float
    low: float | None
    high: float | None
    least: float
    lower_quartile: float
    upper_quartile: float
    most: float


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The median of a sample, divided by that of a baseline, with bounds as in `Summary`.

    ``chance`` is the probability that two samples of one distribution differ as much, in ranks:
    None with fewer than two values on a side. ``marked`` is set by `mark`.
    """

    value: float
    low: float | None
    high: float | None
    chance: float | None
    marked: bool = False


def summarise(values: Values) -> Summary | None:
    """Return a sample in numbers; None if it is empty."""
    if not len(values):
        return None
    low, high = _bounds(_medians(values)) if len(values) >= FEWEST else (None, None)
    lower, median, upper = (float(each) for each in np.quantile(values, [0.25, 0.5, 0.75]))
    return Summary(
        count=len(values),
        median=median,
        low=low,
        high=high,
        least=float(values.min()),
        lower_quartile=lower,
        upper_quartile=upper,
        most=float(values.max()),
    )


def compare(values: Values, baseline: Values) -> Ratio | None:
    """Return the ratio of two medians; None if a sample is empty or its baseline's median is 0."""
    if not len(values) or not len(baseline) or np.median(baseline) <= 0:
        return None
    low = high = None
    if min(len(values), len(baseline)) >= FEWEST:
        with np.errstate(divide="ignore"):
            low, high = _bounds(_medians(values) / _medians(baseline, stream=1))
    return Ratio(
        value=float(np.median(values) / np.median(baseline)),
        low=low,
        high=high,
        chance=_chance(values, baseline),
    )


def mark(ratios: Sequence[Ratio]) -> list[Ratio]:
    """Return the ratios, those marked that are discoveries and whose interval excludes 1.

    Benjamini and Hochberg (1995): of all that is marked, at most the share `LEVEL` is expected to
    be false, however many are compared; if nothing differs, something is marked in one of twenty
    campaigns.
    """
    chances = sorted(ratio.chance for ratio in ratios if ratio.chance is not None)
    passed = [p for rank, p in enumerate(chances, 1) if p <= LEVEL * rank / len(chances)]
    limit = max(passed, default=-1.0)
    return [_marked(ratio, limit) for ratio in ratios]


def geometric_mean(values: Sequence[float]) -> float | None:
    """Return the geometric mean of positive values; None if there are none."""
    known = [value for value in values if value > 0]
    return float(np.exp(np.mean(np.log(known)))) if known else None


def _marked(ratio: Ratio, limit: float) -> Ratio:
    found = ratio.chance is not None and ratio.chance <= limit
    apart = ratio.low is not None and ratio.high is not None and not ratio.low <= 1 <= ratio.high
    return Ratio(
        value=ratio.value,
        low=ratio.low,
        high=ratio.high,
        chance=ratio.chance,
        marked=found and apart,
    )


def _bounds(drawn: Values) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    # inverted_cdf: a value that was drawn, whatever the version of NumPy interpolates
    low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def _medians(values: Values, stream: int = 0) -> Values:
    """Return the medians of so many resamples with replacement."""
    number = len(values)
    generator = np.random.default_rng([SEED, number, stream])
    at_once = max(1, MOST_DRAWN // number)
    drawn = [
        np.median(
            values[generator.integers(0, number, (min(at_once, RESAMPLES - done), number))], axis=1
        )
        for done in range(0, RESAMPLES, at_once)
    ]
    return np.concatenate(drawn)


def _chance(values: Values, baseline: Values) -> float | None:
    """Return the two-sided chance of the rank-sum, by permutation; ties have their mean rank."""
    values, baseline = _thinned(values), _thinned(baseline)
    number, other = len(values), len(baseline)
    if min(number, other) < 2:  # noqa: PLR2004 -- one value has no spread
        return None
    ranks = _ranks(np.concatenate([values, baseline]))
    expected = ranks.mean() * number
    permuted = ranks[_orders(number, other)].sum(axis=1)
    found = abs(ranks[:number].sum() - expected)
    # the sample itself is one of the permutations
    as_far = np.count_nonzero(np.abs(permuted - expected) >= found - 1e-9)
    return (int(as_far) + 1) / (PERMUTATIONS + 1)


def _ranks(values: Values) -> Values:
    """Return the rank of each value, counted from 1; ties have their mean rank."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Values = (last - (counts - 1) / 2)[which]
    return ranks


@lru_cache(maxsize=32)
def _orders(number: int, other: int) -> NDArray[np.int16]:
    """Return which values a sample of ``number`` has in each permutation."""
    generator = np.random.default_rng([SEED, number, other])
    together = np.tile(np.arange(number + other, dtype=np.int16), (PERMUTATIONS, 1))
    return generator.permuted(together, axis=1)[:, :number].copy()


def _thinned(values: Values) -> Values:
    if len(values) <= MOST_PERMUTED:
        return values
    spaced = np.linspace(0, len(values) - 1, MOST_PERMUTED).astype(np.intp)
    return values[spaced]
