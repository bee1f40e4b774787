"""Links between regions: typical round trips, and what else a link does to packets.

Pure. Sources of the defaults: typical published values of the providers' own latency pages;
the configuration overrides them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from e3.errors import LabError
from e3.impairments import Impairment, Pair

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
MEASURABLE_LOSS = 0.2


@dataclass(frozen=True, kw_only=True)
class RegionLink(Impairment):
    """One direction of the path between two regions, or inside of one.

    ``delay_ms`` is the one-way delay, to which jitter is added.
    """

    delay_ms: float

    def __post_init__(self) -> None:
        """Raise `LabError` for a value out of range."""
        if not 0.0 <= self.delay_ms <= MOST_DELAY_MS:  # also for NaN
            raise LabError(
                f"link: delay_ms is {self.delay_ms}; it must be between 0 and {MOST_DELAY_MS:g}"
            )
        try:
            super().__post_init__()
        except ValueError as error:
            raise LabError(f"link: {error}") from None

    @classmethod
    def of(cls, delay_ms: float, impairment: Impairment) -> "RegionLink":
        """Return the link with that delay and impairment."""
        return cls(
            delay_ms=delay_ms,
            **{field.name: getattr(impairment, field.name) for field in fields(Impairment)},
        )

    @property
    def is_plain(self) -> bool:
        """Whether the link has no effect, so that packets need not pass the delay line."""
        return self == RegionLink(delay_ms=0.0)

    @property
    def counts_packets(self) -> bool:
        """Whether the link must see single packets, not segments of many."""
        return self.loss > 0 or self.reordering > 0 or self.rate_mbit is not None


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

    def impair(self, impairments: Mapping[Pair, Impairment]) -> None:
        """Set the impairment of every ordered pair: none for those that are not given."""
        for pair in {*self._links, *impairments}:
            delay_ms = self.link(*pair).delay_ms
            self._links[pair] = RegionLink.of(delay_ms, impairments.get(pair, Impairment()))

    def link(self, source: str, target: str) -> RegionLink:
        """Return the link from ``source`` to ``target``, by default half of the default RTT."""
        asked = self._links.get((source, target))
        return asked or RegionLink(delay_ms=default_rtt_ms(source, target) / 2)

    def asked_rtt_ms(self, one: str, other: str) -> float:
        """Return the round trip that a packet should take at least."""
        return self.link(one, other).delay_ms + self.link(other, one).delay_ms

    def slack_ms(self, one: str, other: str) -> float | None:
        """Return how much longer a round trip may take by jitter.

        It is None where a link breaks, or loses so much that no measurement can be expected.
        """
        both = self.link(one, other), self.link(other, one)
        if any(link.breaks or link.loss > MEASURABLE_LOSS for link in both):
            return None
        return sum(link.jitter_ms for link in both)


def default_rtt_ms(one: str, other: str) -> float:
    """Return the typical round trip between two regions, in either order."""
    if one == other:
        return INTRA_REGION_RTT_MS
    pair = (one, other) if one < other else (other, one)
    return DEFAULT_RTT_MS.get(pair, UNKNOWN_RTT_MS)
