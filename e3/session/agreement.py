"""Turn what a party reports about the agreement into one sentence."""

from collections.abc import Mapping
from typing import Any

from e3.party import fields
from e3.remote.text import printable
from e3.session.verdicts import How


def sentence(found: Mapping[str, Any], names: Mapping[int, str]) -> str:
    """Return a sentence that says which parties differ in what; ``names`` are the hosts by pid."""
    return fields.sentence(differences(found, names), names)


def differences(found: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, fields.Groups]:
    """Return the differences in a report; drop what no honest host reports."""
    groups = {
        name: [(value, [pid for pid in pids if pid in names]) for value, pids in values]
        for name, values in found.items()
    }
    kept = {name: [each for each in values if each[1]] for name, values in groups.items()}
    return {name: values for name, values in kept.items() if len(values) > 1}


def explain(report: Mapping[str, Any], reporter: int, names: Mapping[int, str]) -> tuple[How, str]:
    """Return how a failed agreement ended, and a sentence that says why."""
    how: How = "unreachable" if report["result"] == "unreachable" else "incompatible"
    found = sentence(report["found"], names)
    peer, by, detail = report["peer"], report["by"], report["detail"]
    who = f"party {reporter} ({names[reporter]})"
    if by in names:
        called = f"party {by} ({names[by]}) called the agreement off, as {who} saw"
        because = f"party {peer} ({names[peer]}) {printable(detail)}" if peer in names else ""
        return how, f"{called}; it said that {because}" if because else called
    if peer is None:
        return how, found or f"{who} broke the agreement off, and does not say why"
    reason = accuse(peer, detail, reporter, names)
    return how, f"{reason}; {found}" if found else reason


def accuse(peer: int | None, detail: str, reporter: int, names: Mapping[int, str]) -> str:
    """Return a sentence that says what a party did, as another one saw it."""
    who = "somebody" if peer is None or peer not in names else f"party {peer} ({names[peer]})"
    return f"{who} {printable(detail)}, as party {reporter} ({names[reporter]}) saw"


def about(report: Mapping[str, Any], names: Mapping[int, str]) -> tuple[int, ...]:
    """Return the parties that a report is about: the peer at fault, or those that differ.

    If most parties share a value, the others are returned; if no value has a majority, all are.
    A report of what another party said, which this one did not see, is about no party.
    """
    if report["by"] is not None:
        return ()
    if report["peer"] is not None:
        return (report["peer"],) if report["peer"] in names else ()
    pids: set[int] = set()
    for values in differences(report["found"], names).values():
        sizes = [len(group) for _, group in values]
        most = max(sizes, default=0)
        usual = most if sizes.count(most) == 1 else 0
        pids.update(pid for _, group in values if len(group) != usual for pid in group)
    return tuple(sorted(pids))


def compared(report: Mapping[str, Any], names: Mapping[int, str]) -> int:
    """Return of how many parties the report has statements, of those that differ in something.

    All parties find the same difference, but some may not have waited for all statements.
    """
    found = differences(report["found"], names).values()
    stated = ({pid for _, group in values for pid in group} for values in found)
    return max(map(len, stated), default=0)
