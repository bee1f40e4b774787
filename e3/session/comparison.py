"""Compare all that the parties printed, for `e3:compare: same`, in bounded memory.

Digests tell who printed something else. Only then are two outputs read side by side, to show where
they differ first.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from e3.remote.text import printable, printable_lines
from e3.session.transcript import Transcript
from e3.session.verdicts import Outcome, Verdict, listed

PIECE_BYTES = 65_536
SHOWN_BYTES = 60
BEFORE_BYTES = 20
"""How much of a long line is shown before the first difference."""

NEAR_BYTES = SHOWN_BYTES - BEFORE_BYTES
"""A line is shown from its begin if it differs within so many bytes."""

DIFF_LINES = 200
COMPARED_LINES = 2000
"""Lines of each output, from the first difference on: a diff takes quadratic time at worst."""

CONTEXT = 2
CUT_BYTES = 400
"""The most of a line in a diff."""

ADVICE = (
    "outputs.diff of the evidence shows it; where parties are meant to print different things, "
    "set e3:compare to none"
)
UNENDED = "[no line break at the end]"
HUNK = re.compile(r"@@ -(\d+)(.*) \+(\d+)(.*) @@")


@dataclass(frozen=True, kw_only=True)
class Printed:
    """What one party printed."""

    pid: int
    host: str
    output: Transcript


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where two outputs differ first: a line's number and begin, and the first byte that differs.

    ``line``, counted from 1, begins at byte ``start``; both outputs are the same up to ``differs``.
    """

    line: int
    start: int
    differs: int


def differing(parties: Sequence[Printed]) -> tuple[Printed, list[Printed]]:
    """Return the first of those that printed what most did, and those that printed something else.

    If two outputs are equally frequent, the one of the lowest pid counts.
    """
    most = Counter(party.output.digest for party in parties).most_common(1)[0][0]
    usual = next(party for party in parties if party.output.digest == most)
    return usual, [party for party in parties if party.output.digest != most]


def compare(parties: Sequence[Printed]) -> Outcome | None:
    """Return the outcome ``diverged`` with the first difference; None if all outputs are equal."""
    usual, others = differing(parties)
    if not others:
        return None
    who = f"{listed(others)} printed something else than {listed([usual])}"
    what = _sentence(others[0].output, usual.output)
    return Outcome.of(Verdict.DIVERGED, f"{who}: {what}", others, ADVICE)


def first_difference(one: Transcript, two: Transcript) -> Place:
    """Return where two outputs that are not equal differ first."""
    position, line, start = 0, 1, 0
    while True:
        piece, other = one.read(position, PIECE_BYTES), two.read(position, PIECE_BYTES)
        same = _common(piece, other)
        line += piece.count(b"\n", 0, same)
        if (last := piece.rfind(b"\n", 0, same)) >= 0:
            start = position + last + 1
        position += same
        if same < PIECE_BYTES:
            return Place(line=line, start=start, differs=position)


def diff(parties: Sequence[Printed]) -> str:
    """Return the differences as unified diffs, each against what most parties printed."""
    import difflib  # noqa: PLC0415 -- takes 10 ms, and outputs are equal as a rule

    usual, others = differing(parties)
    lines: list[str] = []
    for party in others:
        place = first_difference(party.output, usual.output)
        begin, number = _back(usual.output, place)
        found = difflib.unified_diff(
            _lines(usual.output, begin, place),
            _lines(party.output, begin, place),
            f"party {usual.pid} ({usual.host})",
            f"party {party.pid} ({party.host})",
            lineterm="",
            n=CONTEXT,
        )
        lines += [_numbered(line, number) for line in found]
    return printable_lines("\n".join([*lines[:DIFF_LINES], ""]))


def _sentence(one: Transcript, two: Transcript) -> str:
    """Return in words how one output differs first from another."""
    place = first_difference(one, two)
    lines = [_excerpt(output, place) for output in (one, two)]
    longer = max(one, two, key=lambda output: output.size_bytes)
    # one ends here, without a line break, and the other has a further line
    if lines[0] == lines[1] and len(longer.read(place.differs, 2)) > 1:
        begin = place.differs + 1
        place = Place(line=place.line + 1, start=begin, differs=begin)
        lines = [_excerpt(output, place) for output in (one, two)]
    elif lines[0] == lines[1]:
        lines = ["the same with another end", "the same"]
    column = place.differs - place.start
    where = f", which differs from byte {column + 1} on," if column > NEAR_BYTES else ""
    return f"line {place.line}{where} is {_shown(lines[0])} and not {_shown(lines[1])}"


def _common(one: bytes, two: bytes) -> int:
    """Return the length of the common begin."""
    if one == two and len(one) == PIECE_BYTES:
        return PIECE_BYTES
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == two[:middle] else (low, middle - 1)
    return low


def _excerpt(output: Transcript, place: Place) -> str | None:
    """Return the line there, of a long one what is around the difference; None past the end."""
    begin = place.start
    if place.differs - place.start > NEAR_BYTES:
        begin = place.differs - BEFORE_BYTES
    data = output.read(begin, SHOWN_BYTES + 1)
    if not data and place.start >= output.size_bytes:
        return None
    line = data.partition(b"\n")[0]
    more = "..." if len(line) > SHOWN_BYTES else ""
    return f"{'...' if begin > place.start else ''}{_decoded(line[:SHOWN_BYTES])}{more}"


def _back(output: Transcript, place: Place) -> tuple[int, int]:
    """Return where the context before a place begins, and its line's number."""
    near = max(place.start - CONTEXT * CUT_BYTES, 0)
    before = output.read(near, place.start - near).split(b"\n")
    # the first of them may be cut, the last is empty
    whole = before[0 if near == 0 else 1 : -1][-CONTEXT:]
    return place.start - sum(len(line) + 1 for line in whole), place.line - len(whole)


def _lines(output: Transcript, begin: int, place: Place) -> list[str]:
    """Return the lines from ``begin`` on, long ones cut, the one that differs around that place."""
    lines: list[str] = []
    while begin < output.size_bytes and len(lines) < COMPARED_LINES:
        far = begin == place.start and place.differs - begin > CUT_BYTES // 2
        shown = place.differs - CUT_BYTES // 2 if far else begin
        data = output.read(shown, CUT_BYTES + 1)
        line, ended, _ = data.partition(b"\n")
        more = "..." if len(line) > CUT_BYTES else ""
        lines.append(f"{'...' if far else ''}{_decoded(line[:CUT_BYTES])}{more}")
        begin = _after(output, shown + len(line))
        if begin == output.size_bytes and not ended:
            lines.append(UNENDED)
    return lines


def _after(output: Transcript, position: int) -> int:
    """Return where the next line begins, or the end."""
    while data := output.read(position, PIECE_BYTES):
        if (end := data.find(b"\n")) >= 0:
            return position + end + 1
        position += len(data)
    return position


def _numbered(line: str, first: int) -> str:
    """Return a line of a diff of what begins with line ``first``, with the numbers of all lines."""
    if (hunk := HUNK.fullmatch(line)) is None:
        return line
    one, many, two, more = hunk.groups()
    return f"@@ -{int(one) + first - 1}{many} +{int(two) + first - 1}{more} @@"


def _decoded(data: bytes) -> str:
    # a character may have been cut
    return data.decode("utf-8", "replace")


def _shown(line: str | None) -> str:
    return "missing" if line is None else f"'{printable(line)}'"
