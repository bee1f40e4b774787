"""Removes a session's folder, whatever a program has made in it, and checks that it is gone."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections import deque
from collections.abc import Iterator
from pathlib import Path

MODE = 0o700
LOST = "lost-"
"""The names of folders that were moved to the top begin with it, then have a number."""


def remove(folder: str) -> bool:
    """Remove a folder with all that is in it; return whether it is gone.

    Each inner folder is moved to the top before it is emptied. So no path is too long, no nesting
    too deep, and no more than two descriptors are open. No other process may change it meanwhile.
    """
    with contextlib.suppress(OSError):  # what is left is checked below
        with opened(folder) as top:
            names = os.listdir(top)  # noqa: PTH208 -- of a descriptor
            free = (f"{LOST}{number}" for number in itertools.count())
            fresh = (name for name in free if name not in names)
            todo = deque(name for name in names if not unlink(name, top))
            while todo:
                todo += empty(todo.popleft(), top, fresh)
        Path(folder).rmdir()
    return not os.path.lexists(folder)


def empty(name: str, top: int, fresh: Iterator[str]) -> list[str]:
    """Remove a folder in ``top``; its folders are moved there: return their new names."""
    moved = []
    with opened(name, top) as inner:
        for below in os.listdir(inner):  # noqa: PTH208 -- of a descriptor
            if not unlink(below, inner):
                os.chmod(below, MODE, dir_fd=inner)  # else it might not be movable
                moved.append(next(fresh))
                os.rename(below, moved[-1], src_dir_fd=inner, dst_dir_fd=top)
    os.rmdir(name, dir_fd=top)
    return moved


def unlink(name: str, folder: int) -> bool:
    """Remove a file or link; return False, and do nothing, if it is a folder."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return False
    return True


@contextlib.contextmanager
def opened(name: str, above: int | None = None) -> Iterator[int]:
    """Open a folder, but no link; unlock it first if its mode forbids access."""
    with contextlib.suppress(PermissionError):
        if stat.S_ISDIR(os.lstat(name, dir_fd=above).st_mode):
            os.chmod(name, MODE, dir_fd=above)
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    try:
        yield folder
    finally:
        os.close(folder)
