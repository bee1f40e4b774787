"""When packets arrive at the far end of a link. Pure: the caller passes clock and randomness."""

import random
from dataclasses import dataclass, field

from e3.lab.links import RegionLink

QUEUE_SECONDS = 0.1
"""How long a packet may queue on a link with a rate; beyond that it is dropped."""


OVERTAKEN_SECONDS = 0.01
"""How much later a packet arrives that others overtake."""

MOST_LATE_SECONDS = 0.0003
"""What a wake-up is expected to be late at most."""

MEMORY = 8
"""How many wake-ups the expected lateness is a mean of, about."""

POLLING_SECONDS = 0.0002
"""How long an idle processor of a virtual machine looks for work before it halts (Linux,
Documentation/virt/guest-halt-polling.rst); until then it wakes up at once."""


class Alarm:
    """When to ask to be woken, and when what woke a process came: a halted processor is late.

    How late is the exponentially weighted mean of what was seen at timeouts. On a virtual machine
    with nothing to do it is 0.1 ms and more, on a busy one some microseconds. Times are seconds.
    """

    def __init__(self) -> None:
        """Expect to be woken in time."""
        self._late = 0.0
        self._asked = 0.0

    def timeout(self, due: float, now: float) -> float:
        """Return how long to sleep at ``now`` for something that is ``due``."""
        self._asked = due - self._late
        return max(0.0, self._asked - now)

    def timed_out(self, now: float) -> None:
        """Learn from a timeout that ended at ``now``."""
        self._late += (now - self._asked - self._late) / MEMORY
        self._late = min(max(self._late, 0.0), MOST_LATE_SECONDS)

    def came(self, slept_at: float, now: float) -> float:
        """Return when that came which ended at ``now`` a sleep since ``slept_at``."""
        halted = now - slept_at > POLLING_SECONDS
        return max(slept_at, now - self._late) if halted else now


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
