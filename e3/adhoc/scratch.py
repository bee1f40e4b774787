"""A folder for one session of this user, which is gone with it, however it ends.

It has copies of private inputs and the program. Its name says which process has it: what a
process that was killed has left is removed when the next session begins.
"""

import contextlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e3 import private
from e3.access.identity import identify

FOLDER = "running"
NAME = re.compile(r"(\d{1,10})-(\d{1,20})-[0-9a-f]{8}")


@contextmanager
def scratch(home: Path) -> Iterator[Path]:
    """Yield a new folder below ``home``; remove it at the end, and before what is of the dead."""
    above = private.folder(home / FOLDER)
    remove_dead(above)
    place = private.folder(above / own_name())
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def own_name() -> str:
    """Return a new name that says which process has it."""
    return f"{os.getpid()}-{_started(os.getpid())}-{secrets.token_hex(4)}"


def is_of_the_dead(name: str) -> bool:
    """Return whether a name is of a process that does not run any more."""
    known = NAME.fullmatch(name)
    return known is not None and not _runs(int(known[1]), int(known[2]))


def remove_dead(above: Path) -> None:
    """Remove the folders of processes that do not run any more."""
    with contextlib.suppress(OSError):
        for place in above.iterdir():
            if is_of_the_dead(place.name) and not place.is_symlink():
                shutil.rmtree(place, ignore_errors=True)


def _runs(pid: int, started: int) -> bool:
    if sys.platform == "linux":
        return _started(pid) == started
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # it is another user's, or the system does not say
    return True


def _started(pid: int) -> int:
    """Return when a process was started, in clock ticks since boot; 0 if it does not run."""
    if sys.platform != "linux":
        return 0
    known = identify(pid)
    return known.started if known is not None else 0
