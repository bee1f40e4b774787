"""Programs that were built, kept for the other checkouts of this user, by what they are built of.

The folder is ``$XDG_CACHE_HOME/e3/programs`` (XDG Base Directory Specification; without the
variable ``~/.cache``). Only its owner may enter it, and a program is taken only if it has the
digest that was written beside it when it was built.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from installer.steps import locked, say

SUMS = "SHA256SUMS"
LOCK = "lock"
BLOCK = 1 << 20
KEEP_DAYS = 90
"""An entry that no checkout took for so long is removed when another is added."""


def place() -> Path:
    """Return the folder of this user's cache."""
    asked = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (asked if asked.is_absolute() else Path.home() / ".cache") / "e3" / "programs"


@dataclass(frozen=True)
class Cache:
    """The entries in ``folder``; None is a cache that has nothing and keeps nothing.

    A folder that others could write to is not used, and that is said.
    """

    folder: Path | None

    @contextlib.contextmanager
    def entry(self, name: str) -> Iterator["Entry"]:
        """Yield the entry of that name, which no other set-up builds meanwhile."""
        entry = self._open(name)
        if entry is None:
            yield Entry(None)
            return
        with locked(entry / LOCK, f"another set-up of yours builds {name}; waiting for it"):
            for path in entry.iterdir():
                if path.is_dir():  # of a set-up that was killed
                    shutil.rmtree(path, ignore_errors=True)
            yield Entry(entry)

    def _open(self, name: str) -> Path | None:
        if self.folder is None:
            return None
        try:
            self.folder.parents[1].mkdir(mode=0o700, parents=True, exist_ok=True)
            wrong = _wrong(self.folder.parents[1], 0o022)
            for folder in (self.folder.parent, self.folder, self.folder / name):
                if not wrong:
                    folder.mkdir(mode=0o700, exist_ok=True)
                    wrong = _wrong(folder, 0o077)
        except OSError as error:
            wrong = str(error)
        if wrong:
            say(f"  what is built is not kept for other checkouts: {wrong}")
        return None if wrong else self.folder / name


@dataclass(frozen=True)
class Entry:
    """The programs of one tool as built of one set of pins."""

    folder: Path | None

    def take(self, programs: Sequence[str], into: Path) -> bool:
        """Copy these programs if all are here and whole; an entry that is not is removed."""
        if self.folder is None or not (self.folder / SUMS).exists():
            return False
        try:
            wrong = self._copy_all(self.folder, programs, into)
        except (OSError, ValueError, KeyError) as error:
            wrong = str(error)
        if wrong:
            say(f"  {self.folder} is not whole ({wrong}): built anew")
            for name in programs:
                (into / name).unlink(missing_ok=True)
            self._empty()
            return False
        os.utime(self.folder / SUMS)
        return True

    def _copy_all(self, folder: Path, programs: Sequence[str], into: Path) -> str:
        """Return which program is another than was built; raise what reading it may raise."""
        rows = (folder / SUMS).read_text().splitlines()
        known = {name: digest for digest, name in (row.split("  ", 1) for row in rows)}
        changed = [it for it in programs if _copy(folder / it, into / it) != known[it]]
        return ", ".join(changed)

    def put(self, programs: Sequence[str], built: Path) -> None:
        """Keep programs that were built; where that fails, say so and keep nothing."""
        if self.folder is None:
            return
        try:
            with tempfile.TemporaryDirectory(dir=self.folder) as name:
                aside = Path(name)
                sums = [f"{_copy(built / it, aside / it)}  {it}\n" for it in programs]
                (aside / SUMS).write_text("".join(sums))
                # the sums come last: without them there is no entry
                for it in (*programs, SUMS):
                    (aside / it).replace(self.folder / it)
            _remove_old(self.folder.parent)
        except OSError as error:
            say(f"  not kept for other checkouts: {error}")
            self._empty()

    def _empty(self) -> None:
        if self.folder is not None:
            for path in self.folder.iterdir():
                if path.name != LOCK and not path.is_dir():
                    path.unlink(missing_ok=True)


def _wrong(folder: Path, others: int) -> str:
    """Return why a folder is not its user's alone; others must have none of these rights."""
    found = folder.stat()
    if found.st_uid != os.geteuid():
        return f"{folder} belongs to another user"
    if found.st_mode & others:
        return f"others have rights to {folder}; type:  chmod go= {folder}"
    return ""


def _copy(source: Path, target: Path) -> str:
    """Copy a program and return the SHA-256 of what was copied."""
    state = hashlib.sha256()
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(reading, "rb") as original, target.open("wb") as copy:
        while block := original.read(BLOCK):
            state.update(block)
            copy.write(block)
    target.chmod(0o755)
    return state.hexdigest()


def _remove_old(folder: Path) -> None:
    limit = time.time() - KEEP_DAYS * 86400
    for entry in folder.iterdir():
        sums = entry / SUMS
        if sums.exists() and sums.stat().st_mtime < limit:
            shutil.rmtree(entry, ignore_errors=True)
