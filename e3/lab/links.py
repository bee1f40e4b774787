"""Links between regions: typical round trips, jitter, loss and rate.

Pure. Sources of the defaults: typical published values of the providers' own latency pages;
the configuration overrides them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from e3.errors import LabError

Pair = tuple[str, str]

INTRA_REGION_RTT_MS = 0.5
UNKNOWN_RTT_MS = 100.0
"""The round trip between two regions if one of them is not in the table."""

DEFAULT_RTT_MS: Mapping[Pair, float] = {
    ("ams3", "nyc3"): 82.0,
    ("ams3", "sfo3"): 145.0,
    ("ams3", "sgp1"): 165.0,
    ("nyc3", "sfo3"): 68.0,
    ("nyc3", "sgp1"): 230.0,
    ("sfo3", "sgp1"): 175.0,
}

MOST_DELAY_MS = 60_000.0
MOST_RATE_MBIT = 100_000.0


@dataclass(frozen=True, kw_only=True)
class RegionLink:
    """One direction of the path between two regions, or inside of one.

    ``delay_ms`` is the one-way delay, to which up to ``jitter_ms`` is added at random; packets
    keep their order. ``loss`` is the probability that a packet is lost, ``rate_mbit`` the
    bandwidth, None without a limit.
    """

    delay_ms: float
    jitter_ms: float = 0.0
    loss: float = 0.0
    rate_mbit: float | None = None

    def __post_init__(self) -> None:
        """Raise `LabError` for a value out of range."""
        _require("delay_ms", self.delay_ms, 0.0, MOST_DELAY_MS)
        _require("jitter_ms", self.jitter_ms, 0.0, MOST_DELAY_MS)
        _require("loss", self.loss, 0.0, 1.0)
        if self.rate_mbit is not None:
            _require("rate_mbit", self.rate_mbit, 0.001, MOST_RATE_MBIT)

    @property
    def is_plain(self) -> bool:
        """Whether the link has no effect, so that packets need not pass the delay line."""
        return self == RegionLink(delay_ms=0.0)

    @property
    def counts_packets(self) -> bool:
        """Whether the link must see single packets, not segments of many."""
        return self.loss > 0 or self.rate_mbit is not None

    def to_properties(self) -> dict[str, float | None]:
        """Return the link as JSON values; ``RegionLink(**values)`` is the inverse."""
        return asdict(self)


@dataclass
class RegionLinks:
    """The link of every ordered pair of regions of one lab."""

    rtt_ms: Mapping[Pair, float]

    def __post_init__(self) -> None:
        """Set the given round trips, in either order of each pair."""
        self._links: dict[Pair, RegionLink] = {}
        for (one, other), rtt_ms in self.rtt_ms.items():
            self.set_rtt(one, other, rtt_ms)

    def set_rtt(self, one: str, other: str, rtt_ms: float) -> None:
        """Set half of ``rtt_ms`` as the delay each way; keep what else was set for the pair."""
        for pair in ((one, other), (other, one)):
            self._links[pair] = replace(self.link(*pair), delay_ms=rtt_ms / 2)

    def set(self, source: str, target: str, link: RegionLink) -> None:
        """Set the link from ``source`` to ``target``."""
        self._links[source, target] = link

    def link(self, source: str, target: str) -> RegionLink:
        """Return the link from ``source`` to ``target``, by default half of the default RTT."""
        asked = self._links.get((source, target))
        return asked or RegionLink(delay_ms=default_rtt_ms(source, target) / 2)

    def asked_rtt_ms(self, one: str, other: str) -> float:
        """Return the round trip that a packet should take at least."""
        return self.link(one, other).delay_ms + self.link(other, one).delay_ms


def default_rtt_ms(one: str, other: str) -> float:
    """Return the typical round trip between two regions, in either order."""
    if one == other:
        return INTRA_REGION_RTT_MS
    pair = (one, other) if one < other else (other, one)
    return DEFAULT_RTT_MS.get(pair, UNKNOWN_RTT_MS)


def _require(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # also false for NaN
        raise LabError(f"link: {name} is {value}; it must be between {least:g} and {most:g}")
