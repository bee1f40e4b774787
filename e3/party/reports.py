"""What a program's process may report to its runner: a closed list, each value typed and bounded.

E3's own code there sends reports (`e3.party.hooks`), but the program can write to the same pipe. So
only the form of a report is relied on. What only a runner can know (that a party agreed, or ended)
is not on the list. What a report says of other parties is only this party's claim, which
`e3.session.verdicts` weighs. `Reports` keeps one line at most in memory, however much arrives.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from e3.remote.text import printable

LINE_BYTES = 65_536
"""The most bytes of one report; the longest has a number for each party."""

TEXT_LENGTH = 500
"""The most characters of a text in a report; its sender shortens a longer one."""

SHOWN_LENGTH = 60
"""The most characters of a wrong value in a sentence about it."""

NOTES = 16
COUNT_END = 2**63

FIRST = "confined"
"""Sent before any of the program runs, and accepted only then."""


class ReportError(Exception):
    """A line is no valid report; the message says what is wrong with it."""


@dataclass(frozen=True)
class Report:
    """One report: its kind, its time by the machine's monotonic clock, and its fields."""

    kind: str
    at: float
    fields: Mapping[str, object]


Check = Callable[[object], object]
"""Returns a value as it is passed on; raises `ValueError`, which says what it must be."""


def text(value: object) -> str:
    """Return a text as one printable line."""
    if not isinstance(value, str):
        raise ValueError("a text")  # noqa: TRY004 -- whatever is wrong with a value
    return printable(value, TEXT_LENGTH)


def notes(value: object) -> list[str]:
    """Return a list of few texts."""
    if not isinstance(value, list) or len(value) > NOTES:
        raise ValueError(f"a list of at most {NOTES} texts")
    return [text(each) for each in value]


def count(value: object) -> int:
    """Return a number of bytes."""
    if type(value) is not int or not 0 <= value < COUNT_END:
        raise ValueError("a whole number of 0 or more")
    return value


class Reports:
    """Reads the reports of party ``pid`` among ``m``, in whatever pieces they arrive."""

    def __init__(self, m: int, pid: int) -> None:
        """Start before the first report."""
        self._begun = False
        self._rest = bytearray()
        self._kinds = kinds(m, pid)

    def feed(self, data: bytes) -> Iterator[Report]:
        """Yield the reports that ``data`` completes; raise `ReportError` at an invalid one.

        After an error the caller ends the party, and feeds no more.
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
        "lost": {"peer": peer, "why": text},
        "offended": {"peer": suspect, "what": text},
        "reading": {"peer": suspect},
        "read": {},
        "stopping": {"sent_bytes": counts},
        "stopped": {},
        "failed": {"error": text},
        "raised": {"error": text},
        "cell": {"number": count},
        "leaving": {},
    }


def shown(value: object) -> str:
    """Return a value of a report for a sentence about it."""
    if isinstance(value, str | int | float | None):
        return f"'{printable(value, SHOWN_LENGTH)}'"
    return f"a {type(value).__name__}"


def moment(kind: str, value: object) -> float:
    """Return the time of a report."""
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
