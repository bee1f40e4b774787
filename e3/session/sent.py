"""What a party has sent to its peers, by the events of its runner."""

from dataclasses import dataclass


@dataclass
class SentBytes:
    """Bytes of the computations that have ended, and of the one that goes on.

    ``total`` is None and ``to``, by pid, empty until the first computation has ended: MPyC tells
    peers apart only then.
    """

    total: int | None = None
    to: tuple[int, ...] = ()
    current: int = 0

    def end(self, to: tuple[int, ...]) -> None:
        """Add what a computation sent to each pid, once it has ended."""
        self.total = sum(to) + (self.total or 0)
        before = self.to or (0,) * len(to)
        self.to = tuple(map(sum, zip(before, to, strict=False)))
        self.current = 0

    @property
    def so_far(self) -> int | None:
        """All that is known now; None if nothing is."""
        return ((self.total or 0) + self.current) or self.total
