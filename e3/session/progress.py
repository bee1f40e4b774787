"""What can be seen of a session while it goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

State = Literal["going", "done", "failed", "stopped"]

PHASES = {
    "ready": "preparing to start",
    "agreeing": "comparing with the other parties what is to be run",
    "agreed": "starting the program",
    "started": "running, not yet at mpc.start",
    "connecting": "waiting for other parties to connect",
    "connected": "computing",
    "stopping": "waiting for other parties to finish",
    "stopped": "running on after mpc.shutdown",
    "exited": "done",
}
"""What a party is doing since an event of `e3.party.protocol`."""

WAITING = "connected, waiting for other parties"
"""The same of a connected party while not all are."""


@dataclass(frozen=True, kw_only=True)
class PartyProgress:
    """One party at this moment.

    ``phase`` says in words what it is doing, or how it ended; ``seconds`` are those since the
    session began, up to the party's end. ``sent_bytes`` is what MPyC has sent to its peers, a
    second old at most where the program lets its loop turn, and None before; ``line`` is the last
    one that it printed on standard output.
    """

    pid: int
    host: str
    state: State
    phase: str
    seconds: float
    sent_bytes: int | None
    line: str


class Observer(Protocol):
    """Who follows a session; called in its event loop, so each call returns at once."""

    def waiting(self, session: str) -> None:
        """Hear that ``session`` has the hosts, and that this one waits for its end."""

    def began(
        self, session: str, evidence: Path, look: Callable[[], Sequence[PartyProgress]]
    ) -> None:
        """Hear that the session of that name goes on; ``look`` gives its parties by pid."""


class NullObserver:
    """The observer of a session that nobody follows."""

    def waiting(self, session: str) -> None:
        """See `Observer`."""

    def began(
        self, session: str, evidence: Path, look: Callable[[], Sequence[PartyProgress]]
    ) -> None:
        """See `Observer`."""
