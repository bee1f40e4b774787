"""Decide who is at fault when parties contradict each other about a failed agreement.

A party that finds something wrong calls the agreement off and tells all others why. The others
did not see it themselves, so a report is what a party saw, what it heard, or gives no reason.
The owner of a host can make it report any of these. A party is therefore not named at fault if
its only accuser may be at fault itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e3.session.verdicts import End

Quarrel = tuple[str, list["End"]]
"""The reason, and the parties that it is about."""


def judge(end: End, ends: Sequence[End]) -> Quarrel | None:
    """Return what follows from an end that no other explains; None if it can be believed."""
    if not end.disagreed:
        return None
    if not end.says_why:
        return called_off(ends)
    if not contested(end, ends):
        return None
    pair = [end, *accused_alone(end, ends)]
    # two that do not reach each other: the fault lies between them, or with one of them
    torn = all(each.how == "unreachable" and each.called_off_by is None for each in pair)
    return f"{end.reason}, and nobody else did", pair if torn else []


def unheard(end: End, ends: Sequence[End]) -> bool:
    """Return whether other parties may still report why the agreement failed."""
    if not end.disagreed:
        return False
    return not end.says_why or any(each.how == "stopped" for each in accused_alone(end, ends))


def contested(end: End, ends: Sequence[End]) -> bool:
    """Return whether the only party that ``end`` accuses contradicts it.

    It does if it heard of the failure from ``end``, or accuses ``end`` as well.
    """
    return any(
        each.called_off_by == end.pid or (each.disagreed and each.about == (end.pid,))
        for each in accused_alone(end, ends)
    )


def support(end: End, ends: Sequence[End]) -> int:
    """Return how many other parties blame the same parties for the failed agreement."""
    others = (each for each in ends if each is not end and each.disagreed)
    return sum(bool(set(each.about or ()) & set(end.about or ())) for each in others)


def accused_alone(end: End, ends: Sequence[End]) -> list[End]:
    """Return the party that ``end``, and no other, says is at fault."""
    if end.about is None or len(end.about) != 1 or support(end, ends):
        return []
    return [each for each in ends if each.pid in end.about and each is not end]


def called_off(ends: Sequence[End]) -> Quarrel:
    """Return what follows if no party says why: the party that called it off first is at fault.

    That is the party from which others heard of it, and which itself heard of it from nobody.
    """
    told = [end for end in ends if end.disagreed and not end.says_why]
    heard = {end.pid: end.called_off_by for end in told if end.called_off_by is not None}
    began = [end for end in ends if end.pid in {*heard.values()} - heard.keys()]
    if len(began) == 1:
        saw = [end for end in told if end.called_off_by == began[0].pid]
        witnesses = " and ".join(end.party for end in saw)
        reason = f"{began[0].party} called the agreement off and named no difference"
        return f"{reason}, as {witnesses} saw", began
    if heard:
        return "the agreement was called off, and no party says why", []
    return told[0].reason, told
