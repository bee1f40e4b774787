"""How an agreement went, in words: from what a party reports to one sentence."""

from collections.abc import Mapping
from typing import Any

from e3.party import fields
from e3.session.verdicts import How


def sentence(found: Mapping[str, Any], names: Mapping[int, str]) -> str:
    """Say who differs in what, of a party's report; ``names`` are the hosts by pid."""
    groups = {
        str(name): [(value, [int(pid) for pid in pids]) for value, pids in values]
        for name, values in found.items()
    }
    return fields.sentence(groups, names)


def explain(report: Mapping[str, Any], reporter: int, names: Mapping[int, str]) -> tuple[How, str]:
    """Return how an agreement ended that did not come about, and the sentence that says why."""
    how: How = "unreachable" if report["result"] == "unreachable" else "incompatible"
    found = sentence(report["found"], names)
    peer = report["peer"]
    if peer is None:
        return how, found
    reason = accuse(peer, report["detail"], reporter, names)
    return how, f"{reason}; {found}" if found else reason


def accuse(peer: int | None, detail: str, reporter: int, names: Mapping[int, str]) -> str:
    """Say what a party did, as another one saw it."""
    who = "somebody" if peer is None else f"party {peer} ({names[peer]})"
    return f"{who} {detail}, as party {reporter} ({names[reporter]}) saw"


def about(report: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the parties that a report is about: the peer at fault, or those that differ.

    Where some differ from most, those are meant; where no value has the most, all are.
    """
    if report["peer"] is not None:
        return (int(report["peer"]),)
    pids: set[int] = set()
    for values in report["found"].values():
        sizes = [len(group) for _, group in values]
        most = max(sizes, default=0)
        usual = most if sizes.count(most) == 1 else 0
        pids.update(int(pid) for _, group in values if len(group) != usual for pid in group)
    return tuple(sorted(pids))
