"""The aliases that a configuration of OpenSSH declares; OpenSSH's client reads the rest.

OpenSSH cannot list its aliases, so `Host`, `Match` and `Include` are read here as ssh_config(5)
defines them. The options of an alias come from ``ssh -G`` when it is used.
"""

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from e3.access import openssh
from e3.errors import ConfigurationError
from e3.inventory import foreign
from e3.inventory.report import ImportReport
from e3.remote.text import printable

MOST_FILES = 200
DEPTH = 16
"""As in OpenSSH, where deeper includes are an error."""

Condition = Callable[[str], bool]
"""Whether a block can apply to an alias."""


def read(report: ImportReport, path: Path) -> None:
    """Add each alias that is not a pattern; the file becomes the machine's ``ssh_config``.

    Raises `ConfigurationError` if OpenSSH itself refuses the file.
    """
    reader = _Reader(report)
    found = list(reader.walk(path, (), 0))
    if reader.runs:
        report.note(
            reader.runs, "Match exec is not run by an import, so ssh was not asked about this"
        )
    elif said := openssh.complaints(path):
        raise ConfigurationError(said)
    for name, place in dict(reversed(found)).items():
        if not openssh.NAME.fullmatch(name):
            report.leave_out(name, place, "ssh takes no such name on its command line")
            continue
        report.add({"host": name, "ssh_config": str(path)}, (), place)
    report.machines.reverse()


@dataclass
class _Reader:
    report: ImportReport
    files: int = 0
    runs: str = ""

    def walk(
        self, path: Path, around: Sequence[Condition], depth: int
    ) -> Iterator[tuple[str, str]]:
        """Yield the aliases of a file with their places; ``around`` is what includes it."""
        self.files += 1
        if depth > DEPTH or self.files > MOST_FILES:
            raise ConfigurationError(f"{path}: too many files are included; is one its own?")
        block: tuple[Condition, ...] = ()
        for number, line in enumerate(foreign.read_text(path, strict=False).splitlines(), 1):
            place = f"{path}, line {number}"
            keyword, words = _split(line, place)
            if keyword == "host":
                aliases = [word for word in words if not set(word) & set("*?!")]
                yield from ((a, place) for a in aliases if all(holds(a) for holds in around))
                block = (_host(words),)
            elif keyword == "match":
                if any(word.lower().lstrip("!").startswith("exec") for word in words):
                    self.runs = self.runs or place
                block = (_match(words),)
            elif keyword == "include":
                for included in self._included(words, place):
                    yield from self.walk(included, (*around, *block), depth + 1)

    def _included(self, words: Sequence[str], place: str) -> Iterator[Path]:
        for word in words:
            if "$" in word or "%" in word:
                self.report.note(
                    place, f"Include {printable(word)} has variables and is not followed"
                )
                continue
            pattern = Path(word).expanduser()
            if not pattern.is_absolute():  # whatever the folder of the file itself
                pattern = Path("~/.ssh").expanduser() / pattern
            found = sorted(glob.glob(str(pattern)))  # noqa: PTH207 -- a pattern of any depth
            if not found:
                self.report.note(place, f"Include {printable(word)}: there is no file {pattern}")
            yield from (Path(name) for name in found if Path(name).is_file())


def _split(line: str, place: str) -> tuple[str, list[str]]:
    """Return keyword in lower case and words of a Host, Match or Include line; "" for others."""
    match = re.match(r'\s*"?([A-Za-z]+)"?(?:\s*=\s*|\s+)(.*)', line)
    if match is None or match[1].lower() not in {"host", "match", "include"}:
        return "", []
    try:
        return match[1].lower(), list(_words(match[2]))
    except ValueError as error:
        raise ConfigurationError(f"{place}: {error}") from None


def _words(text: str) -> Iterator[str]:
    """Yield words as OpenSSH splits a line: quotes of both kinds, backslashes, a comment."""
    rest = text.strip()
    while rest and not rest.startswith("#"):
        word, quote, i = "", "", 0
        while i < len(rest) and (quote or not rest[i].isspace()):
            if rest[i] == "\\" and rest[i + 1 : i + 2] in {'"', "'", "\\", "" if quote else " "}:
                word, i = word + rest[i + 1 : i + 2], i + 2
            elif quote and rest[i] == quote:
                quote, i = "", i + 1
            elif not quote and rest[i] in "\"'":
                quote, i = rest[i], i + 1
            else:
                word, i = word + rest[i], i + 1
        if quote:
            raise ValueError("a quote is not closed")
        yield word
        rest = rest[i:].lstrip()


def _host(patterns: Sequence[str]) -> Condition:
    """Return whether a Host line with these patterns applies to an alias."""
    wanted = [_pattern(word) for word in patterns if not word.startswith("!")]
    unwanted = [_pattern(word[1:]) for word in patterns if word.startswith("!")]

    def holds(alias: str) -> bool:
        return any(p.fullmatch(alias) for p in wanted) and not any(
            p.fullmatch(alias) for p in unwanted
        )

    return holds


def _match(words: Sequence[str]) -> Condition:
    """Return whether a Match line always applies: only ``all`` does, others depend on the login."""
    known = [word.lower() for word in words] == ["all"]
    return lambda _: known


def _pattern(word: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(c, re.escape(c)) for c in word))
