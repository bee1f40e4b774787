"""What an observer sees of a session while it runs."""

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
"""What a party does after each event of `e3.party.protocol`."""

WAITING = "connected, waiting for other parties"
"""The phase of a connected party while other parties are not connected."""


@dataclass(frozen=True, kw_only=True)
class PartyProgress:
    """One party at this moment.

    ``phase`` says in words what it does, or how it ended. ``seconds`` counts from the session's
    beginning to the party's end. ``sent_bytes`` is what MPyC has sent to its peers: None at first,
    then at most a second old if the program does not block its event loop. ``line`` is the last
    line that it printed on standard output.
    """

    pid: int
    host: str
    state: State
    phase: str
    seconds: float
    sent_bytes: int | None
    line: str


class Observer(Protocol):
    """Follows a session; it is called in the session's event loop, so it must return at once."""

    def waiting(self, session: str) -> None:
        """Take note that this session waits for the end of ``session``, which has the hosts."""

    def preparing(self, what: str) -> None:
        """Take note of what is done before the session begins: of a package, such as a download."""

    def began(
        self, session: str, evidence: Path, look: Callable[[], Sequence[PartyProgress]]
    ) -> None:
        """Take note that ``session`` has begun; ``look`` returns its parties by pid."""


class NullObserver:
    """An observer that does nothing."""

    def waiting(self, session: str) -> None:
        """See `Observer`."""

    def preparing(self, what: str) -> None:
        """See `Observer`."""

    def began(
        self, session: str, evidence: Path, look: Callable[[], Sequence[PartyProgress]]
    ) -> None:
        """See `Observer`."""
