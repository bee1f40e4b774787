"""What a program's process may say to its runner: a closed list, each word typed and bounded.

E3's own code says it there (`e3.party.hooks`), and whatever else the program runs can write to the
same pipe. So nothing of it is believed beyond its form: what a runner alone can know (that a party
agreed, or ended) is not on the list, and what a report says of other parties is their party's
word, which `e3.session.verdicts` weighs. `Reports` holds one line at most, however much comes.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from e3.remote.text import printable

LINE_BYTES = 65_536
"""Of one report; the longest has a number for each party."""

TEXT_LENGTH = 500
"""Characters of a text in a report; what is longer is shortened where it is made."""

SHOWN_LENGTH = 60
"""Characters of what is wrong in a sentence about it."""

NOTES = 16
COUNT_END = 2**63

FIRST = "confined"
"""Said before anything of the program runs, and so believed then alone."""


class ReportError(Exception):
    """A line is none of these reports; the message says what is wrong with it."""


@dataclass(frozen=True)
class Report:
    """One report: its kind, its time by the machine's monotonic clock, and what it says."""

    kind: str
    at: float
    fields: Mapping[str, object]


Check = Callable[[object], object]
"""Returns a value as it is passed on; raises `ValueError` with what it must be."""


def text(value: object) -> str:
    """Take a text, as one line that can be printed."""
    if not isinstance(value, str):
        raise ValueError("a text")  # noqa: TRY004 -- whatever is wrong with a value
    return printable(value, TEXT_LENGTH)


def notes(value: object) -> list[str]:
    """Take a few texts."""
    if not isinstance(value, list) or len(value) > NOTES:
        raise ValueError(f"a list of at most {NOTES} texts")
    return [text(each) for each in value]


def count(value: object) -> int:
    """Take a number of bytes."""
    if type(value) is not int or not 0 <= value < COUNT_END:
        raise ValueError("a whole number of 0 or more")
    return value


class Reports:
    """Reads what the process of party ``pid`` among ``m`` says, in whatever pieces it comes."""

    def __init__(self, m: int, pid: int) -> None:
        """Begin to read; nothing was said yet."""
        self._begun = False
        self._rest = bytearray()
        self._kinds = kinds(m, pid)

    def feed(self, data: bytes) -> Iterator[Report]:
        """Yield the reports that are complete with ``data``; raise `ReportError` at what is none.

        Whoever reads ends the party then, and feeds no more.
        """
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._add(end)
            line = bytes(self._rest)
            self._rest.clear()
            yield self._read(line)
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._rest += piece
        if len(self._rest) > LINE_BYTES:
            raise ReportError(f"a line of more than {LINE_BYTES} bytes")

    def _read(self, line: bytes) -> Report:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or not isinstance(kind := message.pop("e3", None), str):
            raise ReportError(f"the line {shown(line.decode(errors='replace'))}")
        checks = self._kinds.get(kind)
        if checks is None or (kind == FIRST and self._begun):
            raise ReportError(f"a report of kind {shown(kind)}")
        self._begun = True
        return Report(kind, moment(kind, message.pop("at", None)), checked(kind, message, checks))


def kinds(m: int, pid: int) -> Mapping[str, Mapping[str, Check]]:
    """Return the fields of each kind of report, see `e3.party.protocol`."""

    def peer(value: object) -> int:
        if type(value) is not int or not 0 <= value < m or value == pid:
            raise ValueError("another party's index")
        return value

    def suspect(value: object) -> int | None:
        return None if value is None else peer(value)

    def counts(value: object) -> list[int]:
        if not isinstance(value, list) or len(value) != m:
            raise ValueError("a list with a number for each party")
        return [count(each) for each in value]

    return {
        "confined": {"notes": notes},
        "loaded": {"version": text},
        "connecting": {},
        "connected": {},
        "sent": {"total_bytes": count},
        "stranger": {"address": text},
        "impostor": {"peer": suspect, "detail": text},
        "lost": {"peer": peer},
        "offended": {"peer": suspect, "what": text},
        "reading": {"peer": suspect},
        "read": {},
        "stopping": {"sent_bytes": counts},
        "stopped": {},
        "failed": {"error": text},
        "raised": {"error": text},
        "leaving": {},
    }


def shown(value: object) -> str:
    """Return a value of a report for a sentence about it."""
    if isinstance(value, str | int | float | None):
        return f"'{printable(value, SHOWN_LENGTH)}'"
    return f"a {type(value).__name__}"


def moment(kind: str, value: object) -> float:
    """Take the time of a report."""
    if type(value) in {int, float}:
        with contextlib.suppress(OverflowError):
            seconds = float(value)  # type: ignore[arg-type]  # a number
            if math.isfinite(seconds):
                return seconds
    raise ReportError(f"a report of kind {shown(kind)} at {shown(value)}")


def checked(
    kind: str, message: Mapping[str, object], checks: Mapping[str, Check]
) -> dict[str, object]:
    """Return the fields of a report as they are passed on."""
    if message.keys() != checks.keys():
        names = ", ".join(sorted(message)) or "nothing"
        raise ReportError(f"a report of kind {shown(kind)} with {shown(names)}")
    fields = {}
    for name, check in checks.items():
        try:
            fields[name] = check(message[name])
        except ValueError as error:
            what = f"whose {name} is {shown(message[name])}, not {error}"
            raise ReportError(f"a report of kind {shown(kind)} {what}") from None
    return fields
