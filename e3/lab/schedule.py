"""When packets arrive at the far end of a link. Pure: the caller passes clock and randomness."""

import random
from dataclasses import dataclass, field

from e3.lab.links import RegionLink

QUEUE_SECONDS = 0.1
"""How long a packet may queue on a link with a rate; beyond that it is dropped."""


OVERTAKEN_SECONDS = 0.01
"""How much later a packet arrives that others overtake."""

MOST_EARLY_SECONDS = 0.0003
"""How much before a packet is due its process may ask to be woken."""

MEMORY = 8
"""How many wake-ups the expected lateness is a mean of, about."""


class Alarm:
    """When to ask to be woken, so as to be awake in time: a processor that slept wakes up late.

    The expected lateness is the exponentially weighted mean of what was seen. On a virtual machine
    with nothing to do it is 0.1 ms and more, on a busy one some microseconds. Times are seconds.
    """

    def __init__(self) -> None:
        """Expect to be woken in time."""
        self._early = 0.0
        self._asked = 0.0

    def timeout(self, due: float, now: float) -> float:
        """Return how long to sleep at ``now`` for something that is ``due``."""
        self._asked = due - self._early
        return max(0.0, self._asked - now)

    def woke(self, now: float) -> None:
        """Learn from a timeout that ended at ``now``."""
        self._early += (now - self._asked - self._early) / MEMORY
        self._early = min(max(self._early, 0.0), MOST_EARLY_SECONDS)


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
