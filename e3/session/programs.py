"""MPyC programs: read a file or a folder, check it, make its digest, and list what is shipped."""

import argparse
import functools
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from e3.errors import ProgramError
from e3.experiment import ENTRIES, Program
from e3.interfaces import File
from e3.party import tree
from e3.party.frames import encodable
from e3.party.statement import MildParser, mpyc_parser, mpyc_source
from e3.party.tree import FOLDER_MODE, FOLDERS, Item, TreeEntry, TreeError, digest
from e3.remote.text import printable
from e3.session import source
from e3.session.ignored import Ignored

LIMIT_BYTES = 100_000_000
LIMIT_FILES = 20_000
FAR_TOO_MANY = 2 * LIMIT_FILES
LARGEST = 3
"""How many parts of a folder are named if it is too large."""

OURS = {
    "-P": "E3 gives each party's address",
    "-I": "E3 gives each party its index",
    "--index": "E3 gives each party its index",
    "-M": "the number of parties is e3:parties",
    "-B": "E3 chooses the ports",
    "--base-port": "E3 chooses the ports",
    "-C": "E3 gives each party's address",
    "--config": "E3 gives each party's address",
    "--no-async": "without it parties cannot wait for one another",
    "--ssl": "set e3:tls: true, which has a certificate made for each party",
}
"""MPyC options that a program's arguments must not have, since E3 sets them; and the reason."""


def load(path: str | Path, args: Sequence[str] = (), entry: str = "") -> Program:
    """Return the program at ``path``: a Python file or a notebook, or a folder with one.

    ``entry`` is the file of a folder that is run, by default one of `ENTRIES`. Raises
    `ProgramError` if it does not exist, is not Python, needs or holds something that cannot be
    shipped, or if ``args`` have an option that only E3 can give.
    """
    path = Path(path)
    if not encodable(str(path)):
        raise ProgramError(f"program {path}: its path is not UTF-8; give it another name")
    if not os.path.exists(path):  # noqa: PTH110 -- false as well where the path is too long
        raise ProgramError(
            f"program {path} does not exist; give a Python file or a folder with a {ENTRIES[0]}"
        )
    check_args(f"program {path}", args)
    entry = find_entry(path, entry)
    contents = list(read(path))
    content = next((content for name, _, content in contents if name == entry), None)
    if content is None:
        raise ProgramError(
            f"program {path}: {tree.shown(entry)} is no part of what is shipped, as an ignore file "
            f"says; write `!{tree.shown(entry)}` into a file .e3ignore beside it"
        )
    notes = source.check(path, entry, content)
    return Program(path=path, entry=entry, digest=digest(contents), args=tuple(args), notes=notes)


def files(program: Program, folder: str) -> list[File]:
    """Return the program's files with their paths on a host, below ``folder``.

    A list of its empty folders, which the runner makes, lies beside the folder. Raises
    `ProgramError` if the files have changed since `load`.
    """
    contents = list(read(program.path))
    if digest(contents) != program.digest:
        raise ProgramError(f"program {program.path} was changed meanwhile; start the session again")
    empty = b"".join(os.fsencode(name) + b"\0" for name, mode, _ in contents if mode == FOLDER_MODE)
    return [
        *(
            File(path=f"{folder}/{name}", content=content, mode=mode)
            for name, mode, content in contents
            if mode != FOLDER_MODE
        ),
        *([File(path=f"{folder}{FOLDERS}", content=empty)] if empty else []),
    ]


def check_args(where: str, args: Sequence[str]) -> None:
    """Raise `ProgramError`, which names ``where``, if MPyC would take an argument for what E3 sets.

    MPyC reads them before the program does, and understands abbreviations (``--ind``) and options
    that are joined (``-hM3``).
    """
    for arg in args:
        if arg == "--":
            return
        try:
            option = option_of_ours(arg)
        except ValueError as error:
            if "ambiguous" not in str(error):
                continue  # of its value, which the next argument may be; MPyC itself says what
            wrong = printable(str(error).rpartition("could match ")[2])
            raise ProgramError(
                f"{where}: {arg.partition('=')[0]!r} is short for several options of MPyC "
                f"({wrong}); write it in full, or give an option of the program another name"
            ) from None
        if option is not None:
            short = "" if arg.startswith(option) else f" (MPyC's {option})"
            raise ProgramError(f"{where}: leave out the argument {arg!r}{short}; {OURS[option]}")


def option_of_ours(arg: str) -> str | None:
    """Return the option that MPyC takes an argument for, if it is one of `OURS`, else None.

    Raises `ValueError` if its parser rejects the argument.
    """
    parser = mpyc_options()
    found = vars(parser.parse_known_args([arg, "1"])[0])  # an option may need a value
    options = [name for name, it in parser.ours.items() if found[it.dest] != it.default]
    # of -I and --index the one that is meant
    long = arg.startswith("--")
    return min(options, key=lambda option: option.startswith("--") != long, default=None)


class OptionParser(MildParser):
    """MPyC's parser; ``ours`` are its actions that E3 sets, by option."""

    ours: Mapping[str, argparse.Action]


@functools.cache
def mpyc_options() -> OptionParser:
    """Return the parser of the MPyC that is installed here; it accepts any value."""
    parser = mpyc_parser(mpyc_source(sys.path))
    actions = parser._option_string_actions  # noqa: SLF001 -- argparse does not list them otherwise
    for action in actions.values():
        action.type = None
    parser.__class__ = OptionParser
    parser.ours = {option: actions[option] for option in OURS if option in actions}  # type: ignore[attr-defined]
    return parser  # type: ignore[return-value]  # it is one now


def find_entry(path: Path, asked: str = "") -> str:
    """Return the name of the file to run, relative to the folder that is shipped."""
    if not path.is_dir():
        if asked not in {"", path.name}:
            raise ProgramError(
                f"e3:entry: {tree.shown(asked)} cannot be an entry of {path}, which is a file; "
                f"give a folder as e3:program, or leave e3:entry out"
            )
        return path.name
    if asked:
        return within(path, asked)
    for name in ENTRIES:
        if (path / name).is_file():
            return name
    choices = sorted(each.name for each in path.iterdir() if each.suffix in source.SUFFIXES)
    which = choices[0] if choices else "FILE"
    raise ProgramError(
        f"program {path} is a folder without an entry point; add a {' or '.join(ENTRIES)}, or say "
        f"which file to run: {source.how_to_choose(path, which)}"
    )


def within(folder: Path, asked: str) -> str:
    """Return the name of an entry as the folder's files are named."""
    name = os.path.normpath(asked)
    if not encodable(name) or Path(name).is_absolute() or name.split("/")[0] == "..":
        raise ProgramError(
            f"e3:entry: {tree.shown(asked)} is not in the folder {folder}; write its path relative "
            "to that folder"
        )
    if not os.path.isfile(folder / name):  # noqa: PTH113 -- false as well for what no path can be
        raise ProgramError(
            f"e3:entry: the folder {folder} has no file {tree.shown(asked)}; write its path "
            "relative to that folder"
        )
    return name


def read(path: Path) -> Iterator[Item]:
    """Yield each file to be shipped, and each folder that is empty.

    Modes are normalised: checkouts differ in the other bits.
    """
    try:
        entries = list(within_limits(chosen(path) if path.is_dir() else [alone(path)]))
    except TreeError as error:
        raise ProgramError(f"program {path}: {error}") from None
    size = sum(entry.size for entry in entries)
    if size > LIMIT_BYTES or len(entries) > LIMIT_FILES:
        raise ProgramError(
            f"program {path} has {size / 1_000_000:.1f} MB in {counted(len(entries))}, more than "
            f"the {LIMIT_BYTES // 1_000_000} MB or {LIMIT_FILES} files that can be shipped; the "
            f"most is in {largest(entries)}; ship less"
        )
    for entry in entries:
        try:
            yield entry.item
        except OSError as error:
            name = tree.shown(entry.name)
            raise ProgramError(f"program {path}: cannot read {name}: {error.strerror}") from None


def chosen(folder: Path) -> Iterator[TreeEntry]:
    """Return what of a folder is shipped."""
    return tree.walk(str(folder), Ignored(folder).choose)


def alone(path: Path) -> TreeEntry:
    """Return a program that is one file, or a link to one."""
    try:
        info = path.stat()
    except OSError as error:
        raise ProgramError(f"program {path}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(info.st_mode):
        raise ProgramError(f"program {path} is not a file; give a Python file or a folder")
    mode = tree.PROGRAM_MODE if info.st_mode & stat.S_IXUSR else tree.FILE_MODE
    return TreeEntry(path.name, str(path), info.st_size, mode)


def within_limits(entries: Iterable[TreeEntry]) -> Iterator[TreeEntry]:
    """Yield entries, and raise `TreeError` when there are far too many: links may never end."""
    for number, entry in enumerate(entries):
        if number > FAR_TOO_MANY:
            raise TreeError(f"it has more than {FAR_TOO_MANY} files, with links; ship less")
        yield entry


def largest(entries: Iterable[TreeEntry]) -> str:
    """Return the largest parts of a folder with their sizes."""
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for entry in entries:
        part = entry.name.partition("/")[0]
        sizes[part] += entry.size
        counts[part] += 1
    most = sorted(counts, key=lambda part: (-sizes[part], -counts[part]))[:LARGEST]
    return ", ".join(
        f"{tree.shown(part)} ({sizes[part] / 1_000_000:.1f} MB in {counted(counts[part])})"
        for part in most
    )


def counted(files: int) -> str:
    """Return a number of files in words."""
    return f"{files} file{'' if files == 1 else 's'}"
