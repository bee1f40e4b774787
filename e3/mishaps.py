"""Describe an unexpected error to the user, and keep its traceback.

A disk is full, a folder is another user's, a file is missing: the system says which file and
why, and this module says what helps. The traceback is for developers of E3: it goes to
``.e3/errors.log``, and with E3_DEBUG=1 to the terminal as well.
"""

import errno
import os
import shutil
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from e3 import private
from e3.errors import E3Error
from e3.remote.text import printable, printable_lines

LOG = Path(private.TOP, "errors.log")
"""Relative to the project, the working directory of the command, the program and providers."""

LOG_BYTES = 1_000_000
"""A longer log is removed before the next entry."""

DEBUG = "E3_DEBUG"
MOST = 3
"""The most errors of a group that are shown; others are alike, or follow from them."""

OWNER = (
    "it belongs to another user, or may not be written: if E3 once ran as root here, type "
    "`sudo chown -R $(id -u) .`"
)
REMEDIES = {
    errno.ENOSPC: "make room on that disk; then `e3 doctor` tells whether it has left broken files",
    errno.EDQUOT: "make room within your quota; then `e3 doctor` tells what was left broken",
    errno.EACCES: OWNER,
    errno.EPERM: OWNER,
    errno.EROFS: "the file system there is mounted read-only: put the project elsewhere",
    errno.ENOENT: "it went away, or is not installed: `e3 doctor` tells what is missing",
    errno.ENOTDIR: "something else lies where a folder belongs: move it away",
    errno.EISDIR: "a folder lies where a file belongs: move it away",
    errno.ELOOP: "a link lies where none belongs: remove it",
    errno.EIO: "the disk fails: see the kernel's messages (`dmesg`)",
    errno.EMFILE: "allow more open files (`ulimit -n 65536`), then type the command again",
    errno.ENFILE: "too many files are open on this machine: end other programs",
    errno.ENOMEM: "memory is short: end other programs, or use fewer hosts",
    errno.EAGAIN: "too many processes run: end other programs, or use fewer hosts",
    errno.ENAMETOOLONG: "choose a shorter name",
}
UNKNOWN = "`e3 doctor` tells what is wrong with this machine"


def told(error: BaseException) -> str:
    """Return the message for any error; log the traceback of an unexpected one."""
    leaves = list(_leaves(error))
    said = "; ".join(dict.fromkeys(_sentence(leaf) for leaf in leaves[:MOST]))
    if all(isinstance(leaf, E3Error) or _speaks(leaf) for leaf in leaves):
        return said
    place = _note(error)
    where = f"its traceback is in {place}" if place else f"{DEBUG}=1 shows its traceback"
    shown = f"\n{printable_lines(_traceback(error))}" if os.environ.get(DEBUG) else ""
    return f"{said} ({where}){shown}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _speaks(error: BaseException) -> bool:
    """Return whether it is a `TimeoutError` of E3, which says what took too long."""
    return isinstance(error, TimeoutError) and error.errno is None and bool(str(error))


def _sentence(error: BaseException) -> str:
    if isinstance(error, E3Error) or _speaks(error):
        return printable_lines(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        cause = error.strerror or os.strerror(error.errno)
        remedy = REMEDIES.get(error.errno, UNKNOWN)
        return f"{_place(error)}{cause}{_room(error)}; {remedy}"
    what = f"{type(error).__name__}: {printable(error)}" if str(error) else type(error).__name__
    return f"an error that E3 does not know, at {_origin(error)}: {what}; {UNKNOWN}"


def _place(error: OSError) -> str:
    names = [printable(os.fsdecode(name)) for name in (error.filename, error.filename2) if name]
    return f"{' to '.join(names)}: " if names else ""


def _room(error: OSError) -> str:
    """Return how much disk space is free where it ran out; nothing for other errors."""
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return ""
    named = Path(os.fsdecode(error.filename)) if error.filename else LOG
    there = next((path for path in (named, *named.absolute().parents) if path.is_dir()), Path("/"))
    return f" ({shutil.disk_usage(there).free / 1e6:,.1f} MB free in {there})"


def _origin(error: BaseException) -> str:
    """Return the place in E3 where the error was raised, if that is known."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/e3/" in frame.filename] or frames
    if not ours:
        return "an unknown place"
    return f"e3/{ours[-1].filename.rpartition('/e3/')[2]}:{ours[-1].lineno}"


def _note(error: BaseException) -> Path | None:
    """Add the traceback to the log; return its path, None if it cannot be written."""
    try:
        private.folder(LOG.parent)
        if LOG.exists() and LOG.stat().st_size > LOG_BYTES:
            LOG.unlink()
        private.append(LOG, f"{datetime.now(UTC).isoformat()}\n{_traceback(error)}\n")
    except (OSError, ValueError):
        return None
    return LOG


def _traceback(error: BaseException) -> str:
    text = "".join(traceback.TracebackException.from_exception(error).format())
    return text.encode(errors="backslashreplace").decode()
