"""How a session ends: one word of a closed list, and a sentence that says why."""

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Verdict(StrEnum):
    """The closed list; `EXIT_STATUS` gives each its exit status."""

    COMPLETED = "completed"
    """Every party's program ended with status 0."""

    INCOMPATIBLE = "incompatible"
    """The parties were about to run different things, and found out before they began."""

    UNREACHABLE = "unreachable"
    """A host is gone, does not answer, or two parties lost their connection."""

    PARTY_FAILED = "party-failed"
    """One party's program could not start, failed, was killed or flooded its output."""

    TIMED_OUT = "timed-out"
    """The deadline passed while parties were still running."""

    DIVERGED = "diverged"
    """All parties completed, with results that should be the same and are not."""

    CANCELLED = "cancelled"
    """Whoever started the session ended it."""


EXIT_STATUS: dict[Verdict, int] = {
    Verdict.COMPLETED: 0,
    Verdict.INCOMPATIBLE: 10,
    Verdict.UNREACHABLE: 11,
    Verdict.PARTY_FAILED: 12,
    Verdict.TIMED_OUT: 13,
    Verdict.DIVERGED: 14,
    Verdict.CANCELLED: 130,
}
"""For commands that run a session; 1 and 2 stay free for errors of the command itself."""

How = Literal["exited", "refused", "incompatible", "unreachable", "gone", "flooded", "stopped"]
"""An end: the program's own, not begun, not agreed on (two), host lost, output flooded, or ours
to all others."""


NOT_AGREED = frozenset({"incompatible", "unreachable"})
"""Ends before any program began; what they say is about all parties."""

VERDICTS: dict[How, Verdict] = {
    "incompatible": Verdict.INCOMPATIBLE,
    "unreachable": Verdict.UNREACHABLE,
    "gone": Verdict.UNREACHABLE,
}
"""What an end that no other explains makes of the session; `PARTY_FAILED` where not listed."""


@dataclass(frozen=True, kw_only=True)
class End:
    """What is known about one party when its session is over.

    ``exit`` is set where the program ended by itself; ``detail`` is the error it met, or
    why it did not start, or how its host was lost. ``lost`` are the peers whose
    connections broke before that. ``phase`` is what it was doing last, in words.
    """

    pid: int
    host: str
    how: How
    phase: str
    exit: int | None = None
    detail: str = ""
    lost: tuple[int, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether this end is no good end, and is not our doing."""
        return self.how != "stopped" and self.exit != 0

    @property
    def killed(self) -> bool:
        """Whether a signal ended the program."""
        return self.exit is not None and self.exit < 0

    @property
    def party(self) -> str:
        """The party as messages name it."""
        return f"party {self.pid} ({self.host})"

    @property
    def reason(self) -> str:
        """One sentence that names the party and what happened to it."""
        if self.how in NOT_AGREED:
            return self.detail
        detail = f": {self.detail}" if self.detail else ""
        if self.how == "refused":
            return f"{self.party} did not start{detail}"
        if self.how == "gone":
            return f"{self.party} is gone{detail}"
        if self.how in {"flooded", "stopped"}:
            return f"{self.party} was stopped{detail}"
        return f"{self.party} {describe(self.exit or 0)}{'' if self.killed else detail}"


def decide(ends: Sequence[End], *, silent: bool) -> tuple[Verdict, str]:
    """Return verdict and reason of a session whose parties all ended, in the order given.

    ``silent`` says that no party printed anything: that is no failure, since a program may
    give its results to nobody here, but it is said.
    """
    cause = first_cause(ends)
    if cause is not None:
        return cause
    if len(ends) == 1:
        reason = f"{ends[0].party} completed"
    else:
        reason = f"all {len(ends)} parties completed"
    if silent:
        reason += ", but none printed anything: a session's result is what its parties print"
    return Verdict.COMPLETED, reason


def first_cause(ends: Sequence[End]) -> tuple[Verdict, str] | None:
    """Return the failure that led to the others; None if there is none.

    A party that failed after it had lost the connection to another failed party is a
    victim of that one. So no two clocks are compared: not the first report counts, but
    the failure that no other explains.
    """
    failures = [end for end in ends if end.failed]
    if not failures:
        return None
    failed = {end.pid for end in failures}
    causes = [end for end in failures if not failed & set(end.lost)]
    # where each blames another, the network between them is to blame: take the first
    end = min(causes or failures, key=lambda end: bool(end.lost))
    if not end.lost:
        return VERDICTS.get(end.how, Verdict.PARTY_FAILED), end.reason
    peers = [peer for peer in ends if peer.pid in end.lost]
    early = next((peer for peer in peers if peer.exit == 0), None)
    if early is not None:
        reason = f"{early.party} ended while others still needed it; then {end.reason}"
        return Verdict.PARTY_FAILED, reason
    lost = " and ".join(peer.party for peer in peers)
    return Verdict.UNREACHABLE, f"the connection to {lost} broke; then {end.reason}"


def timed_out(ends: Iterable[End], seconds: float) -> str:
    """Return the reason of a session that the deadline ended: who was doing what."""
    doing: dict[str, list[str]] = {}
    for end in sorted(ends, key=lambda end: end.pid):
        notes = [f"it lost party {peer}" for peer in end.lost]
        notes += [end.detail] if end.detail and end.how == "stopped" else []
        remark = f" ({', '.join(notes)})" if notes else ""
        doing.setdefault(end.phase + remark, []).append(end.party)
    phases = "; ".join(f"{', '.join(parties)}: {phase}" for phase, parties in doing.items())
    return f"not done after {seconds:g} s; {phases}"


def describe(status: int) -> str:
    """Return an exit status, negative for a signal, in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
