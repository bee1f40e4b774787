"""The files that a program leaves in its output folder, as the runner takes them after its end.

The program made names and files, so both are foreign: only regular files with printable names are
taken, in limited number and size. Whatever else is there is named, and left out. All processes of
the program have ended before, so nothing changes meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from e3.remote.text import printable

FOLDER = "output"
"""Below the session's folder; the program knows it as `VARIABLE`."""

VARIABLE = "E3_OUTPUT"

PART_BYTES, NAME_BYTES = 255, 1000
"""The most bytes of a name, and of a path below the folder."""

PIECE_BYTES = 49_152
"""Of a file in one event; in base64 it fits in a line of 64 KiB."""

NAMED = 10
"""Of what is left out, so many are named; the others are counted."""

SEEN = 50_000
"""The most entries that are looked at; where no file system limits them there may be more."""


def fault_of(name: str) -> str:
    """Return why a file is not taken under this path; empty if it can be.

    Who receives a file checks its name by the same rule, whatever the sender says.
    """
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        return "no path below the folder"
    if not name.isprintable():  # this holds for control characters, and for bytes that are no UTF-8
        return "a name that cannot be printed"
    if any(len(part.encode()) > PART_BYTES for part in parts) or len(name.encode()) > NAME_BYTES:
        return "a name that is too long"
    return ""


@dataclass
class LeftOut:
    """What was not taken: the first ones by name with the reason, and the number of all."""

    files: list[tuple[str, str]] = field(default_factory=list)
    total: int = 0

    def add(self, name: str, why: str) -> None:
        """Count one more."""
        self.total += 1
        if len(self.files) < NAMED:
            self.files.append((printable(name, 120), why))


@dataclass(frozen=True)
class Found:
    """A regular file below the folder that is open as ``top``."""

    top: int
    name: str
    size: int


def find(
    top: int,
    *,
    most_files: int,
    most_bytes: int,
    left_out: LeftOut,
    patterns: tuple[str, ...] | None = None,
) -> list[Found]:
    """Return the files below the folder that is open as ``top``, in the order of their names.

    With ``patterns``, as a shell has them, only what matches one of them is looked at.
    """
    found: list[Found] = []
    left_bytes = most_bytes
    for name, info in walk(top, left_out if patterns is None else LeftOut()):
        if patterns is not None and not any(fnmatchcase(name, each) for each in patterns):
            continue
        why = fault_of(name) or (kind_of(info.st_mode) if not stat.S_ISREG(info.st_mode) else "")
        if not why and len(found) >= most_files:
            why = f"more than {most_files} files"
        if not why and info.st_size > left_bytes:
            why = f"more than {most_bytes // 1_000_000} MB together"
        if why:
            left_out.add(name, why)
            continue
        found.append(Found(top, name, info.st_size))
        left_bytes -= info.st_size
    return found


def walk(top: int, left_out: LeftOut) -> Iterator[tuple[str, os.stat_result]]:
    """Yield all that is below a folder except folders; no link is followed."""
    todo = [""]
    seen = 0
    while todo:
        place = todo.pop()
        try:
            names = listed(top, place)
        except OSError as error:
            left_out.add(place or ".", f"it cannot be read ({error.strerror})")
            continue
        below = []
        for name in names:
            path = f"{place}/{name}" if place else name
            seen += 1
            if seen > SEEN:
                left_out.add(path, f"more than {SEEN} names")
                return
            info = os.stat(path, dir_fd=top, follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                yield path, info
            elif why := fault_of(path):
                left_out.add(path, f"a folder with {why}")
            else:
                below.append(path)
        todo += reversed(below)


def listed(top: int, place: str) -> list[str]:
    """Return the sorted names in a folder; its owner may have closed it to itself."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    if place:
        with contextlib.suppress(OSError):
            os.chmod(place, 0o700, dir_fd=top)
    folder = os.open(place or ".", flags, dir_fd=top)
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 -- of a descriptor
    finally:
        os.close(folder)


def kind_of(mode: int) -> str:
    """Return what an entry that is no file is, in words."""
    kinds = {
        stat.S_IFLNK: "a link",
        stat.S_IFSOCK: "a socket",
        stat.S_IFIFO: "a pipe",
        stat.S_IFBLK: "a device",
        stat.S_IFCHR: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "no file")


def pieces(file: Found) -> Iterator[bytes]:
    """Yield the content of a file in pieces; raise `OSError` if it cannot be read."""
    with contextlib.suppress(OSError):
        os.chmod(file.name, 0o600, dir_fd=file.top)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(file.name, flags, dir_fd=file.top), "rb") as opened:
        left = file.size
        while left:
            piece = opened.read(min(left, PIECE_BYTES))
            if not piece:
                raise OSError(errno.EIO, "it became shorter", file.name)
            left -= len(piece)
            yield piece
