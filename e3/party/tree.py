"""The files and empty folders of a program, as they are shipped and as a host finds them.

Deployer and hosts list a program's folder by the same `walk`, and compute the same `digest` of it.
Names are bytes to the system; here they are text as `os.fsdecode` makes it, and bytes again where
they are compared.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from e3.remote.text import printable

NAME_BYTES = 3000
"""The longest path below the program's folder; with the folder's it must be below 4096."""

FILE_MODE, PROGRAM_MODE, FOLDER_MODE = 0o644, 0o755, 0o040755
"""The modes that are shipped: checkouts differ in the other bits."""

FOLDERS = ".folders"
"""Added to a program's folder: a file with the names of its empty folders, each ended by NUL."""

NEVER = frozenset({"__pycache__", ".git"})
ENVIRONMENT = "pyvenv.cfg"
"""A folder with this file is a virtual environment, which is valid on its own machine only."""

Item = tuple[str, int, bytes]
"""Name, mode and content of a file, or of an empty folder, whose content is empty."""


class TreeError(Exception):
    """A folder holds what cannot be shipped; the message says what, and what to do."""


@dataclass(frozen=True)
class TreeEntry:
    """A file or an empty folder below the folder that is shipped."""

    name: str
    path: str
    size: int
    mode: int

    @property
    def item(self) -> Item:
        """Its name, mode and content."""
        content = b"" if self.mode == FOLDER_MODE else Path(self.path).read_bytes()
        return self.name, self.mode, content


@dataclass(frozen=True)
class Place:
    """A folder: its path, its name relative to the top, its identity, and the folder above."""

    path: str
    name: str
    key: tuple[int, int]
    above: Place | None = None

    def below(self, name: str) -> str:
        """Return the name, relative to the top, of something in the folder."""
        return f"{self.name}/{name}" if self.name else name

    def holds(self, key: tuple[int, int]) -> bool:
        """Return whether a folder is this one, or one above it."""
        place: Place | None = self
        while place is not None and place.key != key:
            place = place.above
        return place is not None


Entries = list[os.DirEntry[str]]

Choose = Callable[[Place, Entries], Entries]
"""Returns what of a folder's entries is to be shipped; a host finds what was, and chooses all."""


def is_left_out(entry: os.DirEntry[str]) -> bool:
    """Return whether something is no part of any program, whatever its folder says."""
    if entry.name in NEVER:
        return True
    if entry.name.endswith(".pyc"):
        return not is_folder(entry)
    return is_folder(entry) and Path(entry.path, ENVIRONMENT).is_file()


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether something is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def walk(root: str, choose: Choose = lambda _, entries: entries) -> Iterator[TreeEntry]:
    """Yield the files and the empty folders below a folder; links are followed.

    ``choose`` leaves out more than `is_left_out` does. Raises `TreeError` for a link that leads
    outside or to a folder above it, and for what is neither a file nor a folder.
    """
    top = os.path.realpath(root)
    todo = [Place(top, "", key_of(Path(top).stat()))]
    while todo:
        place = todo.pop()
        entries = choose(place, listed(place))
        if not entries and place.name:
            yield TreeEntry(place.name, place.path, 0, FOLDER_MODE)
        for entry in entries:
            name = place.below(entry.name)
            path, info = look(entry, name, top)
            if stat.S_ISDIR(info.st_mode):
                key = key_of(info)
                if entry.is_symlink() and place.holds(key):
                    raise TreeError(f"{shown(name)} is a link to a folder that it is in; remove it")
                todo.append(Place(path, name, key, place))
            elif stat.S_ISREG(info.st_mode):
                mode = PROGRAM_MODE if info.st_mode & stat.S_IXUSR else FILE_MODE
                yield TreeEntry(name, path, info.st_size, mode)
            else:
                raise TreeError(f"{shown(name)} is not a file; remove it")


def listed(place: Place) -> Entries:
    """Return the entries of a folder that may belong to the program."""
    try:
        with os.scandir(place.path) as entries:
            return [entry for entry in entries if not is_left_out(entry)]
    except OSError as error:
        raise TreeError(f"cannot read {shown(place.name)}: {error.strerror}") from None


def look(entry: os.DirEntry[str], name: str, top: str) -> tuple[str, os.stat_result]:
    """Return path and status of an entry; of a link, those of its target."""
    if len(os.fsencode(name)) > NAME_BYTES:
        raise TreeError(f"the path of {shown(name)} has more than {NAME_BYTES} bytes; nest less")
    try:
        info = entry.stat()
    except OSError as error:
        link = "is a link that leads to nothing, or to itself; remove it"
        what = link if entry.is_symlink() else f"cannot be read: {error.strerror}"
        raise TreeError(f"{shown(name)} {what}") from None
    if not entry.is_symlink():
        return entry.path, info
    path = os.path.realpath(entry.path)  # the kernel follows no more than forty links in a path
    if not is_within(path, top):
        raise TreeError(f"{shown(name)} is a link that leads outside; copy what it leads to")
    return path, info


def is_within(path: str, top: str) -> bool:
    """Return whether a path is a folder or below it; both must have no links."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def key_of(info: os.stat_result) -> tuple[int, int]:
    """Return the identity of a folder: its device and inode."""
    return info.st_dev, info.st_ino


def shown(name: str) -> str:
    """Return a file's name for a sentence."""
    return printable(name, 120)


def digest(items: Iterable[Item]) -> str:
    """Return the SHA-256, in hexadecimal, of names, modes and contents, whatever their order."""
    total = hashlib.sha256()
    for name, mode, content in sorted((os.fsencode(item[0]), item[1], item[2]) for item in items):
        # lengths first: no two sets of files read the same
        total.update(b"%d:%b:%o:%d:" % (len(name), name, mode, len(content)))
        total.update(content)
    return total.hexdigest()


def found(root: str) -> str:
    """Return the digest of a folder, or what is wrong with it."""
    try:
        return digest(entry.item for entry in walk(root))
    except TreeError as error:
        return f"that cannot be read: {error}"
    except OSError as error:
        return f"that cannot be read: {error.strerror}"


def make_folders(folder: str) -> None:
    """Make the program's empty folders in a session's ``folder``; they are not shipped as files."""
    program = f"{folder}/program"
    beside = Path(f"{program}{FOLDERS}")
    if beside.is_file():
        for name in beside.read_bytes().split(b"\0")[:-1]:
            make_folder(os.fsencode(program), name)


def make_folder(place: bytes, name: bytes) -> None:
    """Make a folder below another, with all folders between them, however many."""
    for part in name.split(b"/"):
        place += b"/" + part
        if not os.path.isdir(place):  # noqa: PTH112 -- of bytes
            os.mkdir(place, 0o755)  # noqa: PTH102 -- of bytes
