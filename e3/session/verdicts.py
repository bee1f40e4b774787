"""Decide how a session ended: one word of a closed list, the reason, the parties, and advice."""

import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Protocol

from e3.session import discord
from e3.session.missing import missing_module


class Verdict(StrEnum):
    """The closed list of verdicts; `EXIT_STATUS` has the exit status of each."""

    COMPLETED = "completed"
    """Every party's program ended with status 0."""

    INCOMPATIBLE = "incompatible"
    """The parties were about to run different things, or a party was not who it claimed to be."""

    UNREACHABLE = "unreachable"
    """A host is gone, does not answer, or two parties lost their connection."""

    PARTY_FAILED = "party-failed"
    """One party's program could not start, failed, was killed, or broke a limit or the protocol."""

    TIMED_OUT = "timed-out"
    """The deadline passed, or a party did not come to ``mpc.start`` in time."""

    DIVERGED = "diverged"
    """All parties completed, and their outputs differ where `e3:compare` is `same`."""

    CANCELLED = "cancelled"
    """The user who started the session ended it."""


EXIT_STATUS: dict[Verdict, int] = {
    Verdict.COMPLETED: 0,
    Verdict.INCOMPATIBLE: 10,
    Verdict.UNREACHABLE: 11,
    Verdict.PARTY_FAILED: 12,
    Verdict.TIMED_OUT: 13,
    Verdict.DIVERGED: 14,
    Verdict.CANCELLED: 130,
}
"""Of commands that run a session; 1 and 2 are left for errors of the command itself."""

How = Literal[
    "exited",
    "refused",
    "incompatible",
    "unreachable",
    "gone",
    "flooded",
    "bloated",
    "garbled",
    "stopped",
]
"""How a party ended: its program ended by itself; it did not start; the parties did not agree
(``incompatible`` or ``unreachable``); its host was lost; it took too much output or memory; it sent
events that no runner sends; or E3 stopped it."""

NOT_AGREED = frozenset({"incompatible", "unreachable"})
"""Ends before any program began; they concern all parties."""

VERDICTS: dict[How, Verdict] = {
    "incompatible": Verdict.INCOMPATIBLE,
    "unreachable": Verdict.UNREACHABLE,
    "gone": Verdict.UNREACHABLE,
}
"""The verdict that an end causes if no other end explains it; `PARTY_FAILED` if not listed."""


@dataclass(frozen=True, kw_only=True)
class End:
    """What is known about one party when its session is over.

    ``exit`` is set if the program ended by itself. ``detail`` is the error it met, why it did
    not start, or how its host was lost. ``phase`` is what it did last, in words. ``lost`` are
    the peers whose connections broke before the end, the first by ``loss``; of them, ``left_by``
    had ended before that was noticed. ``accused`` is the peer that sent something forbidden, which
    ``detail`` then names. ``about`` are the parties that the end concerns, if not this one alone.
    ``parted`` says that it closed its connections together with all others. If the parties did not
    agree, ``says_why`` is whether it saw itself what is wrong, ``called_off_by`` is the party from
    which it heard that the agreement failed, and ``compared`` is how many parties' statements it
    had. All but ``how`` and ``exit`` are the party's own claims.
    """

    pid: int
    host: str
    how: How
    phase: str
    exit: int | None = None
    detail: str = ""
    lost: tuple[int, ...] = ()
    loss: str = ""
    accused: int | None = None
    about: tuple[int, ...] | None = None
    left_by: tuple[int, ...] = ()
    parted: bool = False
    says_why: bool = True
    called_off_by: int | None = None
    compared: int = 0

    @property
    def failed(self) -> bool:
        """Whether the party failed: it ended badly, and not because E3 stopped it."""
        return self.how != "stopped" and self.exit != 0

    @property
    def disagreed(self) -> bool:
        """Whether it ended because the parties did not agree."""
        return self.how in NOT_AGREED

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
        if self.how in {"bloated", "flooded", "garbled", "stopped"}:
            return f"{self.party} was stopped{detail}"
        return f"{self.party} {describe(self.exit or 0)}{'' if self.killed else detail}"


class Named(Protocol):
    """A party, as far as messages name it."""

    @property
    def pid(self) -> int:
        """Its index."""

    @property
    def host(self) -> str:
        """The name of its host."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a session ended.

    ``reason`` is one sentence that says why. ``parties`` are the pids that it concerns.
    ``advice`` says what to do; it is empty if there is nothing to do.
    """

    verdict: Verdict
    reason: str
    parties: tuple[int, ...] = ()
    advice: str = ""

    @classmethod
    def of(cls, verdict: Verdict, reason: str, parties: Iterable[Named], advice: str) -> "Outcome":
        """Return the outcome that concerns these parties."""
        pids = tuple(sorted({party.pid for party in parties}))
        return cls(verdict=verdict, reason=reason, parties=pids, advice=advice)


AGAIN = "run `pulumi refresh` and `pulumi up`, which replace hosts that are gone; see `e3 doctor`"
LOG = "read that party's log: `e3 logs`"
NETWORK = "see whether these hosts reach each other: run `e3 doctor`, then run the session again"
PICKLE = (
    "if the program means to send that, name its type in e3:unpickle; otherwise do not trust that "
    "party's host"
)
ADVICE: dict[How, str] = {
    "bloated": "if the program needs more memory, raise memory-mb of e3:limits",
    "garbled": (
        "see what that party's program writes to file descriptors that it did not open; if it "
        "does not, do not trust that host"
    ),
    "flooded": "have the program print less, or raise output-mb of e3:limits",
    "gone": AGAIN,
    "incompatible": "give all parties the same of what differs, then run the session again",
    "refused": "do what the reason says, then run the session again",
    "unreachable": NETWORK,
}
QUARREL = (
    "run the session again; if that happens again, do not trust one of these hosts: `e3 logs` has "
    "what each of them said"
)
CANCELLED = Outcome(verdict=Verdict.CANCELLED, reason="the user ended the session")


def decide(ends: Sequence[End], *, silent: bool) -> Outcome:
    """Return the outcome of a session whose parties all ended, in the order given.

    ``silent`` says that no party printed anything. That is no failure, since a program may give
    its results elsewhere, but the reason says so.
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
    return Outcome(verdict=Verdict.COMPLETED, reason=reason)


def first_cause(ends: Sequence[End]) -> Outcome | None:
    """Return the failure that led to the others; None if there is none.

    If a party failed after it had lost the connection to another failed party, the other failure
    explains its own. The failure that no other explains counts, not the first report, so clocks
    are never compared. A party's claim about another one counts only if something else confirms
    it, see `bereft` and `offended`; else the reason reports it as that party's claim, and the
    outcome concerns no party.
    """
    failures = [end for end in ends if end.failed]
    if not failures:
        return None
    if (offence := offended(ends)) is not None:
        return offence
    end = unexplained(ends)
    if end is None:
        # if each blames another, the network between them is at fault
        first = min(failures, key=rank)
        outcome = broken(ends)
        return replace(outcome, reason=f"{outcome.reason}; then {first.reason}")
    if end.accused is not None or end.lost:
        return alone(end, ends)
    if (quarrel := discord.judge(end, ends)) is not None:
        reason, culprits = quarrel
        return Outcome.of(VERDICTS[end.how], reason, culprits, QUARREL)
    verdict = VERDICTS.get(end.how, Verdict.PARTY_FAILED)
    about = [end] if end.about is None else [party for party in ends if party.pid in end.about]
    return Outcome.of(verdict, end.reason, about, advise(end))


def rank(end: End) -> tuple[bool, bool, bool]:
    """Return the sort key of ends: the likeliest cause first.

    Ends that rest on a claim about others come after those that do not. ``incompatible`` comes
    first: a peer without E3 has no runner that could report. A party that did not agree and does
    not say why comes last: another one may say why.
    """
    word = end.accused is not None or bool(end.lost)
    return not end.says_why, word, end.how != "incompatible"


def unexplained(ends: Sequence[End]) -> End | None:
    """Return the failure that no other explains; None if others explain each of them."""
    causes = [end for end in ends if end.failed and not bereft(end, ends)]
    return min(
        causes,
        key=lambda end: (*rank(end), -discord.support(end, ends), -end.compared),
        default=None,
    )


def undecided(ends: Sequence[End]) -> bool:
    """Return whether the failure rests on one party's claim alone, so far."""
    if not any(end.failed for end in ends) or offended(ends) is not None:
        return False
    end = unexplained(ends)
    if end is None:
        return False
    return end.accused is not None or bool(end.lost) or discord.unheard(end, ends)


def bereft(end: End, ends: Sequence[End]) -> tuple[int, ...]:
    """Return the peers that a party lost while it needed them, if something confirms its claim.

    One of these confirms it: the peer failed, and not because it lost this party after that had
    ended; the peer left before all others were done; it noticed the same; or another party lost
    it, too.
    """
    others = {other.pid: other for other in ends}
    return tuple(peer for peer in end.lost if _borne_out(end, others[peer], ends))


def _borne_out(end: End, other: End, ends: Sequence[End]) -> bool:
    if other.failed:
        return end.pid not in other.left_by
    if sum(other.pid in each.lost for each in ends) > 1:
        return True
    if other.exit == 0:
        return not other.parted
    return end.pid in other.lost and end.pid not in other.left_by


def alone(end: End, ends: Sequence[End]) -> Outcome:
    """Return the outcome of a claim that only one party makes; it concerns no party."""
    peers = {party.pid: party for party in ends}
    if end.accused is not None:
        reason = (
            f"{end.party} says, and nobody else, that {peers[end.accused].party} sent it a pickle "
            f"with {end.detail}, which MPyC never sends; it was not read"
        )
        return Outcome(verdict=Verdict.PARTY_FAILED, reason=reason, advice=PICKLE)
    lost = f"{listed(peers[pid] for pid in end.lost)} broke{_bracketed(end.loss)}"
    reason = f"{end.party} says, and nobody else, that its connection to {lost}"
    if end.failed:
        reason += f"; then {end.reason}"
    return Outcome(verdict=Verdict.UNREACHABLE, reason=reason, advice=f"{NETWORK}; {LOG}")


def offended(ends: Sequence[End]) -> Outcome | None:
    """Return the outcome if a peer sent something forbidden; None if none did.

    One party's claim is not enough: a second one says it too, or the peer has itself failed.
    """
    for end in ends:
        if end.accused is None or not end.failed:
            continue
        for culprit in ends:
            accusers = sum(each.accused == culprit.pid for each in ends)
            fell = culprit.failed and end.pid not in culprit.lost
            if culprit.pid == end.accused and (accusers > 1 or fell):
                reason = (
                    f"{culprit.party} sent {end.party} a pickle with {end.detail}, which MPyC "
                    "never sends; it was not read"
                )
                return Outcome.of(Verdict.PARTY_FAILED, reason, [culprit], PICKLE)
    return None


def broken(ends: Sequence[End]) -> Outcome:
    """Return the outcome of parties that lost connections they needed, by `End.lost`.

    The party that most others lost is named first: its host or cable is the likely cause.
    """
    left = {end.pid for end in ends if end.exit == 0}
    noticed = [pid for end in ends for pid in end.lost if pid not in end.left_by or pid in left]
    times = Counter(noticed or (pid for end in ends for pid in end.lost))
    worst = max(ends, key=lambda end: (times[end.pid], -end.pid))
    witnesses = [end for end in ends if worst.pid in end.lost]
    if worst.exit == 0:
        reason = f"{worst.party} ended while others still needed it"
        return Outcome.of(Verdict.PARTY_FAILED, reason, [worst], LOG)
    loss = next((end.loss for end in witnesses), "")
    between = f"{worst.party} and {listed(witnesses)}"
    reason = f"the connection between {between} broke{_bracketed(loss)}"
    return Outcome.of(Verdict.UNREACHABLE, reason, [worst, *witnesses], NETWORK)


def _bracketed(remark: str) -> str:
    return f" ({remark})" if remark else ""


def timed_out(ends: Iterable[End], seconds: float) -> Outcome:
    """Return the outcome of a session that the deadline ended; it says what each party did."""
    ends = list(ends)
    going = [end for end in ends if end.exit is None]
    advice = "if the program needs longer, raise e3:deadline-seconds; else read the logs: `e3 logs`"
    reason = f"not done after {seconds:g} s; {doing(ends)}"
    return Outcome.of(Verdict.TIMED_OUT, reason, going, advice)


def doing(ends: Iterable[End]) -> str:
    """Return what each party was doing; parties that did the same are grouped."""
    groups: dict[str, list[End]] = {}
    for end in sorted(ends, key=lambda end: end.pid):
        notes = [f"it lost party {peer}" for peer in end.lost]
        notes += [end.detail] if end.detail and end.how == "stopped" else []
        remark = f" ({', '.join(notes)})" if notes else ""
        groups.setdefault(end.phase + remark, []).append(end)
    return "; ".join(
        f"{', '.join(end.party for end in parties)}: {phase}" for phase, parties in groups.items()
    )


def advise(end: End) -> str:
    """Return what to do about a party's own failure."""
    if "MemoryError" in end.detail or end.exit == -signal.SIGKILL:
        return f"if it needs more memory, raise memory-mb of e3:limits; {LOG}"
    return missing_module(end.detail) or ADVICE.get(end.how, LOG)


def listed(parties: Iterable[Named]) -> str:
    """Return the names of parties for a message, with "and" before the last."""
    *most, last = (f"party {party.pid} ({party.host})" for party in parties)
    return f"{', '.join(most)} and {last}" if most else last


def describe(status: int) -> str:
    """Return an exit status, negative for a signal, in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
