"""What a program's folder has and its owner does not want shipped: as ignore files say.

``.gitignore`` is read as Git reads it: in the folder, in each folder below, and above it up to the
top of the work tree. ``.e3ignore`` has the same syntax and comes after the ``.gitignore`` beside
it, so that ``!data/`` there ships what Git does not keep.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from e3.party.tree import Entries, Place, TreeError, is_folder, shown

if TYPE_CHECKING:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

GIT, OURS = ".gitignore", ".e3ignore"
FILES = (GIT, OURS)

MARK = "ps_d"
"""The group in pathspec's regular expressions that is the slash after a folder that matched."""

MOST_BYTES = 1_000_000
"""Of one ignore file; its patterns are tried on every name."""


@dataclass(frozen=True)
class Patterns:
    """The patterns of one ignore file; ``base`` leads from its folder to that of the names."""

    base: str
    patterns: "tuple[GitIgnoreSpecPattern, ...]"

    def ignores(self, name: str) -> bool | None:
        """Return whether a name is ignored, None if no pattern matches; a folder's ends in /."""
        for pattern in reversed(self.patterns):
            if pattern.regex is not None and matches(pattern.regex, f"{self.base}{name}"):
                return pattern.include
        return None


def matches(regex: re.Pattern[str], name: str) -> bool:
    """Return whether a pattern matches a name itself, rather than a folder that it is in.

    Whoever walks top down has decided of that folder before.
    """
    if any(match.groupdict().get(MARK) is None for match in regex.finditer(name.rstrip("/"))):
        return True
    marks = (match.end(MARK) for match in regex.finditer(name) if MARK in regex.groupindex)
    return name.endswith("/") and len(name) in marks


class Ignored:
    """Chooses what of a program's folder is shipped; `choose` is called top down."""

    def __init__(self, root: Path) -> None:
        """Read the ignore files above ``root``."""
        self._above = tuple(above(root.resolve()))
        self._below: dict[str, tuple[tuple[str, Patterns], ...]] = {}
        """For each folder the patterns that hold in it, with the folder they are of."""

    def choose(self, place: Place, entries: Entries) -> Entries:
        """See `e3.party.tree.Choose`."""
        inherited = self._below[place.above.name] if place.above else ()
        present = {entry.name for entry in entries}
        own = ((place.name, read(place.path, name)) for name in FILES if name in present)
        self._below[place.name] = (*inherited, *own)
        return [
            entry
            for entry in entries
            if not self.leaves_out(
                place, f"{place.below(entry.name)}{'/' if is_folder(entry) else ''}"
            )
        ]

    def leaves_out(self, place: Place, name: str) -> bool:
        """Return whether something in a folder is ignored; the nearest file that knows it says."""
        for folder, patterns in reversed(self._below[place.name]):
            found = patterns.ignores(name[len(folder) + 1 :] if folder else name)
            if found is not None:
                return found
        answers = (patterns.ignores(name) for patterns in self._above)
        return next((found for found in answers if found is not None), False)


def above(root: Path) -> Iterator[Patterns]:
    """Yield the patterns of Git's ignore files above a folder in a work tree, the lowest first.

    A file that ignores the folder itself does not count: the user has asked for the folder.
    """
    folders = [root, *root.parents]
    top = next((folder for folder in folders if os.path.lexists(folder / ".git")), root)
    for folder in folders[1 : folders.index(top) + 1]:
        if (folder / GIT).is_file():
            base = f"{root.relative_to(folder)}/"
            patterns = Patterns(base, read(str(folder), GIT).patterns)
            if not patterns.ignores(""):
                yield patterns


def read(folder: str, name: str) -> Patterns:
    """Return the patterns of an ignore file; like Git, ignore those that are none."""
    path = f"{folder}/{name}"
    try:
        if not Path(path).is_file():  # reading a pipe would not end
            return Patterns("", ())
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise TreeError(f"cannot read {shown(path)}: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise TreeError(f"{shown(path)} has more than {MOST_BYTES // 1_000_000} MB; shorten it")
    lines = os.fsdecode(content).removeprefix("\ufeff").split("\n")
    return Patterns("", tuple(compiled(lines)))


def compiled(lines: list[str]) -> "Iterator[GitIgnoreSpecPattern]":
    """Yield the patterns in lines."""
    # only folders with ignore files need pathspec, which takes 30 ms to load
    from pathspec.patterns.gitignore import GitIgnorePatternError  # noqa: PLC0415
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # noqa: PLC0415

    for line in lines:
        try:
            yield GitIgnoreSpecPattern(line)
        except (GitIgnorePatternError, re.error):  # the latter for [z-a]
            continue
