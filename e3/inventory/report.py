"""The result of importing a list: machines, and what was not understood, with its place."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from e3.inventory import machines
from e3.inventory.machines import Machine
from e3.remote.text import printable

MOST_NOTES, LINE_LENGTH = 200, 600


@dataclass
class ImportReport:
    """The machines of a list; ``notes`` say what was not used, ``left_out`` which machines.

    A machine is left out if it is not clear how it is reached: with a wrong guess E3 could reach
    another machine.
    """

    source: str
    text: str
    machines: list[Machine] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)

    def place(self, *needles: str) -> str:
        """Return the place of the first line with all of these words, or with one of them.

        The line is in the list, or in one of the ``others`` (texts by path) that belong to it.
        """
        words = [rf"(?<![\w.-]){re.escape(needle)}(?![\w.-])" for needle in needles if needle]
        first = [
            rf"^[\s\"'-]*{word}[\"']?\s*[=:]" for word in words
        ]  # before what stands in others
        for wanted in ([re.compile(word) for word in words], *map(_alone, (*first, *words))):
            for source, text in ((self.source, self.text), *self.others.items()):
                for number, line in enumerate(text.splitlines(), 1):
                    comment = line.lstrip().startswith(("#", ";"))
                    if wanted and not comment and all(each.search(line) for each in wanted):
                        return f"{source}, line {number}"
        return self.source

    def note(self, place: str, said: str) -> None:
        """Note something that was not used and that is not essential."""
        line = printable(f"{place}: {said}", LINE_LENGTH)
        if line not in self.notes and len(self.notes) < MOST_NOTES:
            self.notes.append(line)

    def leave_out(self, name: str, place: str, said: str) -> None:
        """Leave a machine out, for that reason."""
        self.left_out.append(name)
        self.note(place, f"{printable(name)} is left out: {said}")

    def add(self, values: Mapping[str, Any], tags: Iterable[object], place: str) -> None:
        """Add a machine, whose region is made of the first tag; or leave it out and say why."""
        known = {key: value for key, value in values.items() if value is not None and value != ""}
        if name := next((region for tag in tags if (region := _region(str(tag)))), ""):
            known["region"] = name
        try:
            self.machines.append(machines.from_properties(known))
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            said = printable(str(error).partition(" - at `$")[0].replace("`", ""))
            self.leave_out(str(values.get("host", "?")), place, said)


def _alone(pattern: str) -> list[re.Pattern[str]]:
    return [re.compile(pattern)]


def _region(tag: str) -> str:
    return re.sub(r"[^a-z0-9]", "", tag.lower()).lstrip("0123456789")[:32]
