"""The facts of a statement: which must be equal among all parties, and how they differ.

Only `FIELDS` says of each fact whether parties may differ in it, and why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from e3.remote.text import printable

Value = str | int | bool | None

Statement = Mapping[str, Value]


@dataclass(frozen=True)
class Field:
    """One fact of a statement.

    ``phrase`` follows a party's name, with the value in place of its ``{}``. ``why`` is the reason
    why it must be equal, or may differ.
    """

    phrase: str
    must: bool
    why: str

    def say(self, value: str) -> str:
        """Return the phrase with a value in it."""
        before, _, after = self.phrase.partition("{}")
        return f"{before}{value}{after}"


def must(phrase: str, why: str) -> Field:
    """Return a fact that must be equal among all parties."""
    return Field(phrase, must=True, why=why)


def may(phrase: str, why: str) -> Field:
    """Return a fact in which parties may differ."""
    return Field(phrase, must=False, why=why)


FIELDS: Mapping[str, Field] = {
    "e3": must("speaks version {} of E3's protocol", "the versions would not agree on what counts"),
    "session": must("is in session {}", "parties of two sessions must not meet"),
    "m": must("would compute with {} parties", "shares are made for all of them"),
    "overlay": must("would connect over {}", "they would meet at other addresses"),
    "parties": must("would meet at {}", "each must know every other at the same address"),
    "mpyc": must("would run mpyc {}", "its messages are numbered by what the runtime does inside"),
    "program": must("would run program {}", "another program computes something else"),
    "entry": must("would start {}", "another file computes something else"),
    "inputs": must("has the inputs {}", "a party without its input computes something else"),
    "inputs_from": must("would take the output of run {}", "the output of another is another"),
    "own_inputs": may("has the inputs {}", "the session lets each party have others"),
    "args": must("would pass the arguments {}", "they are part of what is computed"),
    "packages": must("would use the packages {}", "another version may compute something else"),
    "threshold": must("would use threshold {} (-T)", "degree of the polynomials, number of keys"),
    "bit_length": must("would use bit length {} (-L)", "other fields, other protocols"),
    "sec_param": must("would use security parameter {} (-K)", "other fields, other masks"),
    "ssl": must("would connect with TLS: {} (--ssl)", "one side speaks TLS, the other does not"),
    "no_prss": must("would do without PRSS: {} (--no-prss)", "keys are sent, or not"),
    "no_async": must("would run in sequence: {} (--no-async)", "it cannot wait for others"),
    "help": must("would only show a help or a version: {}", "it ends before it computes"),
    "options": must("would use the MPyC options {}", "nothing is known about them here"),
    "labels": must("would number messages by {}", "a message must have the same number everywhere"),
    "arrays": must(
        "would have numpy: {}", "MPyC's arrays, and programs that ask for them, need it"
    ),
    "python": may("runs Python {}", "MPyC sends its own format, and no pickle of a newer protocol"),
    "gmpy2": may("has gmpy2 {}", "MPyC's own arithmetic gives the same numbers, only later"),
    "numpy": may("has numpy {}", "elements are sent one by one in MPyC's format"),
    "word_bits": may("has words of {} bits", "what depends on it is how messages are numbered"),
    "byte_order": may("is {}-endian", "MPyC always sends little-endian"),
}

SHOWN_LENGTH = 120
"""The most characters of a value in a sentence."""

NAME_LENGTH = 40
"""The most characters of a fact's name; a statement with a longer one is invalid."""

VALUE_LENGTH = 2000
"""The most characters of a text in a statement; a longer one is replaced by its digest."""

SHOWN_FIELDS = 3
"""The most differences in one sentence."""

Groups = list[tuple[Value, list[int]]]
"""The values of one fact, each with the parties that stated it; most parties first."""


def differences(statements: Mapping[int, Statement], *, must: bool) -> dict[str, Groups]:
    """Return by name the facts that differ, of those that must be equal or of those that may."""
    known = [*FIELDS, *sorted({name for each in statements.values() for name in each} - {*FIELDS})]
    found: dict[str, Groups] = {}
    for name in known:
        if (FIELDS[name].must if name in FIELDS else True) != must:
            continue
        values: dict[tuple[str, Value], list[int]] = {}
        for pid in sorted(statements):
            value = statements[pid].get(name)
            values.setdefault((type(value).__name__, value), []).append(pid)
        if len(values) > 1:
            groups = [(value, pids) for (_, value), pids in values.items()]
            found[name] = sorted(groups, key=lambda group: -len(group[1]))
    return found


def has_majorities(found: Mapping[str, Groups], parties: int) -> bool:
    """Return whether most of so many ``parties`` share a value of each fact that differs."""
    return all(2 * len(groups[0][1]) > parties for groups in found.values())


def sentence(found: Mapping[str, Groups], name: Mapping[int, str]) -> str:
    """Return a sentence about all differences; ``name`` has the parties' names by pid."""
    parts = [contrast(field, groups, name) for field, groups in found.items()]
    more = len(parts) - SHOWN_FIELDS
    rest = (
        f"; and {more} more differences" if more > 1 else "; and 1 more difference" if more else ""
    )
    return "; ".join(parts[:SHOWN_FIELDS]) + (rest if more > 0 else "")


def contrast(field: str, groups: Groups, name: Mapping[int, str]) -> str:
    """Return how parties differ in one fact: the minority first, then the majority."""
    # an unknown fact was named by a peer: its name is shown, and never used as a template
    known = FIELDS.get(field)
    verb = f"states {printable(field, NAME_LENGTH)} as"
    most, *others = groups
    others = others[::-1]
    first = others[0]
    value = shown(first[0])
    parts = [f"{people(first[1], name)} {known.say(value) if known else f'{verb} {value}'}"]
    parts += [f"{people(pids, name)} {shown(value)}" for value, pids in others[1:]]
    majority = len(most[1])
    rest = people(most[1], name)
    if majority > 1 and majority > max(len(pids) for _, pids in others):
        rest = f"the other {number(majority)}"
    return ", ".join([*parts, f"{rest} {shown(most[0])}"])


def people(pids: Sequence[int], name: Mapping[int, str]) -> str:
    """Return the parties' names as a list in words."""
    known = [name.get(pid, f"party {pid}") for pid in pids[:SHOWN_FIELDS]]
    if len(pids) > SHOWN_FIELDS:
        known.append(f"{len(pids) - SHOWN_FIELDS} others")
    return " and ".join([", ".join(known[:-1]), known[-1]] if known[1:] else known)


def shown(value: Value) -> str:
    """Return a value as text for a person; a peer may have stated anything."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return text[:12]
    return printable(text, SHOWN_LENGTH)


def number(count: int) -> str:
    """Return a small number as a word."""
    words = ("", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[count] if count < len(words) else str(count)
