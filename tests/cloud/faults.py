"""What goes wrong at the stand-in cloud, switched on by tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Faults:
    """Each is off unless a test says otherwise; names are of droplets, regions of images.

    ``busy`` answers one request in so many with 429 and Retry-After, ``broken`` one in so many
    with 503 before anything was done; 0 is never. ``skew_seconds`` is how far Spaces' clock is
    ahead of ours.
    """

    busy: int = 0
    broken: int = 0
    nothing_made: bool = False
    """The creation of any droplet is answered with 500."""
    nothing_boots: bool = False
    """Droplets stay ``new``."""
    never_boots: set[str] = field(default_factory=set)
    """Droplets that become ``active`` but never answer."""
    import_fails: bool = False
    transfer_fails: set[str] = field(default_factory=set)
    upload_breaks_after: int | None = None
    """Spaces breaks the connection at the upload of a part after so many."""
    skew_seconds: float = 0.0
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_answer(self) -> int:
        """Return the status with which the next request is turned away, or 0."""
        with self._lock:
            self._count += 1
            if self.busy and self._count % self.busy == 0:
                return 429
            if self.broken and self._count % self.broken == 1:
                return 503
            return 0

    @contextmanager
    def on(self, **values: object) -> Iterator[None]:
        """Inject these faults for a while."""
        before = {name: getattr(self, name) for name in values}
        vars(self).update(values)
        try:
            yield
        finally:
            vars(self).update(before)
