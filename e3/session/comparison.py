"""Compare what the parties printed, for `e3:compare: same`."""

import difflib
from collections import Counter
from collections.abc import Sequence

from e3.remote.text import printable_lines
from e3.session.results import PartyResult
from e3.session.verdicts import Outcome, Verdict, listed

SHOWN_CHARACTERS = 60
DIFF_LINES = 200
COMPARED_LINES = 2000
"""Lines of each output that are compared: a diff takes quadratic time at worst."""

ADVICE = (
    "outputs.diff of the evidence shows it; where parties are meant to print different things, "
    "set e3:compare to none"
)


def differing(parties: Sequence[PartyResult]) -> tuple[str, list[PartyResult]]:
    """Return what most parties printed, and the parties that printed something else.

    If two outputs are equally frequent, the one of the lowest pid counts.
    """
    most = Counter(party.output for party in parties).most_common(1)[0][0]
    return most, [party for party in parties if party.output != most]


def compare(parties: Sequence[PartyResult]) -> Outcome | None:
    """Return the outcome ``diverged`` with the first difference; None if all outputs are equal."""
    most, others = differing(parties)
    if not others:
        return None
    first = others[0]
    number, theirs, usual = first_difference(first.output, most)
    same = next(party for party in parties if party.output == most)
    reason = (
        f"{listed(others)} printed something else than {listed([same])}: line {number} is "
        f"{_shown(theirs)} and not {_shown(usual)}"
    )
    return Outcome.of(Verdict.DIVERGED, reason, others, ADVICE)


def first_difference(text: str, other: str) -> tuple[int, str | None, str | None]:
    """Return the number of the first line that differs, and both lines (None past an end)."""
    lines, others = text.splitlines(), other.splitlines()
    for number in range(max(len(lines), len(others))):
        one = lines[number] if number < len(lines) else None
        two = others[number] if number < len(others) else None
        if one != two:
            return number + 1, one, two
    return max(len(lines), 1), "the same with another end", "the same"


def diff(parties: Sequence[PartyResult]) -> str:
    """Return the differences as unified diffs, each against what most parties printed."""
    most, others = differing(parties)
    same = next(party for party in parties if party.output == most)
    lines: list[str] = []
    for party in others:
        lines += difflib.unified_diff(
            most.splitlines()[:COMPARED_LINES],
            party.output.splitlines()[:COMPARED_LINES],
            f"party {same.pid} ({same.host})",
            f"party {party.pid} ({party.host})",
            lineterm="",
            n=2,
        )
    return printable_lines("\n".join([*lines[:DIFF_LINES], ""]))


def _shown(line: str | None) -> str:
    if line is None:
        return "missing"
    return repr(line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}...")
