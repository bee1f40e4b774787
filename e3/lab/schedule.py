"""When packets arrive at the far end of a link. Pure: the caller passes clock and randomness."""

import random
from dataclasses import dataclass, field

from e3.lab.links import RegionLink

QUEUE_SECONDS = 0.1
"""How long a packet may queue on a link with a rate; beyond that it is dropped."""


@dataclass
class DelayLine:
    """One direction between two regions. Packets keep their order, as on a real path.

    All times are seconds of one clock.
    """

    link: RegionLink
    chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        """Convert to seconds and bytes once, not for each packet."""
        self._delay = self.link.delay_ms / 1000
        self._jitter = self.link.jitter_ms / 1000
        self._seconds_a_byte = 8e-6 / self.link.rate_mbit if self.link.rate_mbit else 0.0
        self._free = 0.0
        self._last = 0.0
        self.is_constant = not (self._jitter or self._seconds_a_byte or self.link.loss)
        self.delay = self._delay

    def arrival(self, now: float, size: int) -> float | None:
        """Return when a packet of ``size`` bytes that enters at ``now`` arrives; None if never."""
        link = self.link
        if link.loss and self.chance.random() < link.loss:
            return None
        if self._seconds_a_byte:
            start = max(now, self._free)
            if start - now > QUEUE_SECONDS:
                return None
            now = self._free = start + size * self._seconds_a_byte
        due = now + self._delay
        if self._jitter:
            due += self.chance.random() * self._jitter
        self._last = max(due, self._last)
        return self._last
