"""Find what takes too long: each phase of a session has a limit, besides the deadline.

| phase | limit | held by |
|---|---|---|
| shipping, until the runner answers | `Limits.ship_seconds` | here |
| agreement | `e3.party.protocol.AGREE_SECONDS` | the runners, who report |
| connecting, from the first `mpc.start` until all are connected | `Limits.connect_seconds` | here |
| running | the deadline; `LOST_SECONDS` after a connection to a peer broke | here |
| collecting, from the program's end to the runner's | `LEAVE_SECONDS` of a party | the party |

With many parties the first three are longer by `e3.party.protocol.spare_seconds`.

A slow program is not mistaken for a lost one: runner and deployer exchange a message every
`BEAT_SECONDS` whatever the program does, and the kernels of two parties acknowledge each other's
messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from e3.experiment import Limits
from e3.party.protocol import AGREE_SECONDS, spare_seconds
from e3.session.verdicts import (
    End,
    Outcome,
    Verdict,
    alone,
    bereft,
    broken,
    doing,
    timed_out,
)

LOST_SECONDS = 3.0
"""For a party that lost a peer to fail by itself, and for the peer's own end to be reported."""

WITNESS_SECONDS = 1.6
"""For others to confirm what a party says of a peer, once that party has failed."""

LAST_SECONDS = AGREE_SECONDS + 2.0
"""For a party to agree, or to report why it does not."""

TICK_SECONDS = 0.5
"""How often a session is checked."""


@dataclass(frozen=True, kw_only=True)
class PartyMilestones:
    """When a party reached each milestone, in seconds since the session began.

    ``lost_seconds`` is when it first lost a peer that it still needed; ``agreeing`` is whether
    it still compares with the others.
    """

    ready_seconds: float | None = None
    agreeing: bool = False
    connecting_seconds: float | None = None
    connected_seconds: float | None = None
    lost_seconds: float | None = None
    ended: bool = False


def overdue(
    milestones: Sequence[PartyMilestones],
    ends: Sequence[End],
    *,
    now: float,
    deadline_seconds: float,
    limits: Limits,
) -> Outcome | None:
    """Return how the session ends ``now`` because something took too long; None if nothing did.

    ``ends`` are how each party would end now, in the order of ``milestones``.
    """
    known = list(zip(milestones, ends, strict=True))
    spare = spare_seconds(len(known))
    most_seconds = limits.ship_seconds + spare
    late = [end for party, end in known if party.ready_seconds is None and not party.ended]
    if late and now > most_seconds:
        reason = f"not all hosts have started within {most_seconds:g} s; {doing(late)}"
        advice = "run `e3 doctor`; on slow hosts raise ship-seconds of e3:limits"
        return Outcome.of(Verdict.UNREACHABLE, reason, late, advice)
    if outcome := _unconnected(known, now, limits.connect_seconds + spare):
        return outcome
    lost = [
        end
        for party, end in known
        if end.lost and party.lost_seconds is not None and not party.ended
        if now > party.lost_seconds + LOST_SECONDS
    ]
    if lost:
        return broken(ends) if any(bereft(end, ends) for end in lost) else alone(lost[0], ends)
    if now > deadline_seconds:
        return timed_out(ends, deadline_seconds)
    return None


def _unconnected(
    known: Sequence[tuple[PartyMilestones, End]], now: float, limit_seconds: float
) -> Outcome | None:
    begun = [party.connecting_seconds for party, _ in known if party.connecting_seconds is not None]
    # a party that ended is not waited for: its program may not use MPyC at all
    waited_for = [
        (party, end) for party, end in known if party.connected_seconds is None and not party.ended
    ]
    if not (begun and waited_for) or now <= min(begun) + limit_seconds:
        return None
    last_seconds = LAST_SECONDS + spare_seconds(len(known))
    if any(
        party.agreeing and now < (party.ready_seconds or 0) + last_seconds for party, _ in known
    ):
        return None  # that party will report who is missing
    absent = [end for party, end in waited_for if party.connecting_seconds is None]
    reason = f"not connected {limit_seconds:g} s after the first party's mpc.start; "
    if absent:
        advice = (
            "see what keeps a party from mpc.start; if it needs that long, raise "
            "connect-seconds of e3:limits"
        )
        everybody = doing([end for _, end in known])
        return Outcome.of(Verdict.TIMED_OUT, reason + everybody, absent, advice)
    parties = [end for _, end in waited_for]
    advice = "see whether a firewall keeps these hosts apart: run `e3 doctor`"
    return Outcome.of(Verdict.UNREACHABLE, reason + doing(parties), parties, advice)
