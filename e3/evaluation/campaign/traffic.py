"""Sizes and times of packets in a few numbers, as somebody can tell them who only watches. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from e3.evaluation.observations import Traffic

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
LARGEST_BYTES = 1_500
SMALL_BYTES, LARGE_BYTES = 200, 1_200
SILENCE_SECONDS = 0.02
FEWEST = 3
"""Packets from one address to another that count as talking."""

Packet = tuple[int, int, str, str]
"""Nanoseconds, bytes, source, target."""


def describe(packets: Sequence[Packet]) -> Traffic | None:
    """Return the figures of packets in the order of their times; None without any."""
    cut = [each for packet in sorted(packets) for each in _pieces(packet)]
    if not cut:
        return None
    times = np.array([packet[0] for packet in cut], dtype=np.float64) / 1e9
    sizes = np.array([packet[1] for packet in cut], dtype=np.float64)
    counts: dict[tuple[str, str], int] = {}
    volumes: dict[tuple[str, str], int] = {}
    for _, size, *ends in cut:
        pair = (ends[0], ends[1])
        counts[pair] = counts.get(pair, 0) + 1
        volumes[pair] = volumes.get(pair, 0) + size
    gaps = np.diff(times) if len(times) > 1 else np.zeros(1)
    bursts = 1 + int(np.count_nonzero(gaps > SILENCE_SECONDS))
    by_pair = np.array(list(volumes.values()), dtype=np.float64)
    return Traffic(
        seconds=round(float(times[-1] - times[0]), 4),
        packets=len(cut),
        bytes=int(sizes.sum()),
        ends=len({end for pair in counts for end in pair}),
        talking_pairs=sum(count >= FEWEST for count in counts.values()),
        mean_bytes=_digits(sizes.mean()),
        spread_bytes=_digits(sizes.std()),
        size_bytes=_quantiles(sizes),
        gap_ms=_quantiles(gaps * 1000),
        small_share=_digits(np.mean(sizes <= SMALL_BYTES)),
        large_share=_digits(np.mean(sizes >= LARGE_BYTES)),
        bursts=bursts,
        mean_burst_packets=_digits(len(cut) / bursts),
        busiest_share=_digits(by_pair.max() / by_pair.sum()),
        pair_spread=_digits(by_pair.std() / by_pair.mean()),
    )


def _pieces(packet: Packet) -> list[Packet]:
    """Return a packet, or as many as a device would send of a segment that is longer than one."""
    stamp, size, source, target = packet
    whole, rest = divmod(size, LARGEST_BYTES)
    sizes = [LARGEST_BYTES] * whole + ([rest] if rest else [])
    return [(stamp, each, source, target) for each in sizes]


def _quantiles(values: NDArray[np.float64]) -> list[float]:
    return [_digits(value) for value in np.quantile(values, QUANTILES)]


def _digits(value: float | np.floating) -> float:
    """Return four significant digits: a line of results need not carry more."""
    return float(f"{float(value):.4g}")
