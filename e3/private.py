"""Make files and folders that only their owner can read, whatever the umask: all of ``.e3``.

Other users of a shared machine must not read state, evidence and keys of stacks. This module
uses the standard library only, since scripts/setup needs it before there is a .venv.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS = 0o077
TOP = ".e3"

CAREFULLY = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
"""Flags of POSIX: Windows, where people may read invitations, has neither of them."""

HOME = "E3_HOME"
"""Names the variable with another folder of the user's than the usual one."""

SHOWN = frozenset({"hosts", "resolv.conf"})
"""Files of a folder ``lab`` that hosts mount in /etc, where all of their users read them."""


def user_folder() -> Path:
    """Return the folder of this user's identity and sessions; it may not exist yet."""
    chosen = os.environ.get(HOME)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(chosen) if chosen else Path(data, "e3")


def folder(path: Path) -> Path:
    """Ensure that the folder exists, with its parents; close it and ``.e3`` above it to others."""
    missing = [place for place in (path, *path.parents) if not place.exists()]
    for place in reversed(missing):
        # another process may make the same one
        with contextlib.suppress(FileExistsError):
            place.mkdir(FOLDER_MODE)
            place.chmod(FOLDER_MODE)
    for place in (path, *(above for above in path.absolute().parents if above.name == TOP)):
        if stat.S_IMODE(place.stat().st_mode) & (FOLDER_MODE | OTHERS) != FOLDER_MODE:
            place.chmod(FOLDER_MODE)
    return path


def descriptor(path: Path, flags: int) -> int:
    """Open a file as `os.open` does; create it if it is missing, and close it to others."""
    opened = os.open(path, flags | os.O_CREAT | CAREFULLY, FILE_MODE)
    try:
        if hasattr(os, "fchmod"):
            os.fchmod(opened, FILE_MODE)
    except OSError:
        os.close(opened)
        raise
    return opened


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: a full disk leaves the old one. Its folder must exist.

    Raises `OSError` that names ``path``.
    """
    data = content.encode() if isinstance(content, str) else content
    aside = path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(descriptor(aside, os.O_WRONLY | os.O_EXCL), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


def append(path: Path, text: str) -> None:
    """Append to a file; create it if it is missing."""
    with os.fdopen(descriptor(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
        file.write(text.encode())


def loose(top: Path) -> list[Path]:
    """Return those of ``top`` and of all below it to which other users have any right.

    Links are left out, since they have no modes, and so are the files of `SHOWN`.
    """
    return [path for path in _all(top) if stat.S_IMODE(path.lstat().st_mode) & OTHERS]


def close(top: Path) -> None:
    """Remove every right of other users to ``top`` and to all below it."""
    for path in loose(top):
        with contextlib.suppress(FileNotFoundError):
            path.chmod(stat.S_IMODE(path.lstat().st_mode) & ~OTHERS)


def _all(top: Path) -> Iterator[Path]:
    if not top.is_dir():
        return
    yield top
    for place, folders, files in os.walk(top):
        shown = SHOWN if Path(place).name == "lab" else ()
        for name in (*folders, *files):
            path = Path(place, name)
            if name not in shown and not path.is_symlink() and path.exists():
                yield path
