"""How far a command of minutes is: on a terminal one line, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

PERIOD_SECONDS = {True: 0.2, False: 20.0}
"""At most one line in that time, by whether it is a terminal that shows them."""

KNOWN = 0.05
"""The part that must be done before the time that is left is told from it."""


@dataclass
class Progress:
    """Counts what is done of ``total``; ``total`` 0 is one that nobody knows.

    ``last`` is what goes on once all is counted.
    """

    what: str
    total: int = 0
    done: int = 0
    last: str = "linking"
    clock: Callable[[], float] = time.monotonic
    terminal: bool = field(default_factory=lambda: sys.stderr.isatty())  # noqa: PLW0108 -- of the stream by then
    _began: float = field(init=False)
    _told: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin now."""
        self._began = self._told = self.clock()

    def step(self) -> None:
        """Count one more, and tell it if it is time."""
        self.done += 1
        self._tell(PERIOD_SECONDS[self.terminal])

    def complete(self) -> None:
        """Count all as done: not all that is locked is for this machine."""
        self.done = self.total
        self._tell(0)

    def _tell(self, period_seconds: float) -> None:
        now = self.clock()
        if now - self._told >= period_seconds:
            self._told = now
            begin, end = ("\r\x1b[K", "") if self.terminal else ("", "\n")
            print(f"{begin}set-up:   {self}", end=end, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Remove the line from a terminal."""
        if self.terminal and self._told != self._began:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        """Return how far it is, and how long it may still take."""
        if not self.total:
            return f"{self.done} {self.what}"
        done = min(self.done, self.total)
        text = f"{done} of {self.total} {self.what}"
        part = done / self.total
        if part == 1:
            return f"{text}; {self.last}"
        if part < KNOWN:
            return text
        left = (self.clock() - self._began) * (1 - part) / part
        return f"{text}, about {_rounded(left)} left"


def _rounded(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{max(seconds, 1):.0f} s"  # noqa: PLR2004
