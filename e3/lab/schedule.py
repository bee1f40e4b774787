"""When packets arrive at the far end of a link. Pure: the caller passes clock and randomness."""

import random
from dataclasses import dataclass, field

from e3.lab.links import RegionLink

QUEUE_SECONDS = 0.1
"""How long a packet may queue on a link with a rate; beyond that it is dropped."""


OVERTAKEN_SECONDS = 0.01
"""How much later a packet arrives that others overtake."""


@dataclass
class DelayLine:
    """One direction between two regions. Packets keep their order but for those drawn to lose it.

    All times are seconds of one clock; ``began`` is when the link was set.
    """

    link: RegionLink
    chance: random.Random = field(default_factory=random.Random)
    began: float = 0.0

    def __post_init__(self) -> None:
        """Convert to seconds and bytes once, not for each packet."""
        self._delay = self.link.delay_ms / 1000
        self._jitter = self.link.jitter_ms / 1000
        self._seconds_a_byte = 8e-6 / self.link.rate_mbit if self.link.rate_mbit else 0.0
        self._free = 0.0
        self._last = 0.0
        self._every = self.link.breaks_every_seconds if self.link.breaks else None
        varies = self._jitter or self._seconds_a_byte or self.link.loss or self.link.reordering
        self.is_constant = not (varies or self._every)
        self.delay = self._delay

    def arrival(self, now: float, size: int) -> float | None:
        """Return when a packet of ``size`` bytes that enters at ``now`` arrives; None if never."""
        link = self.link
        if (
            self._every
            and (now - self.began) % self._every >= self._every - link.breaks_for_seconds
        ):
            return None
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
        if link.reordering and self.chance.random() < link.reordering:
            return self._last + OVERTAKEN_SECONDS
        return self._last
