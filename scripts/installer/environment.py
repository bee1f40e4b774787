"""The Python environment: .venv, from requirements.txt with hashes."""

import os
import platform
import shutil
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

from e3.locked_packages import Difference, differences
from installer.steps import SetupError, aside, digest, pip_install, run, say

REPORT = "requirements-report.txt"
"""What reports and exports need besides."""


@dataclass(frozen=True)
class Environment:
    """``link`` points to a virtual environment with exactly the packages of the lock.

    An environment cannot be renamed (its scripts name their interpreter), so each is created
    at its own place, named by a digest of its content; the link moves there once it is complete.
    """

    lock: Path
    link: Path
    tools: Path
    # Not sys.executable: that may be the environment to be replaced.
    python: Path = field(default_factory=lambda: Path(sys.executable).resolve())

    @property
    def what(self) -> str:
        """See `Step`."""
        drifted = self._drifted() if self._linked() else []
        if drifted:
            return f"{self.link.name}, where {', '.join(map(str, drifted))} (usually 10 s)"
        return f"{self.link.name} from {self.lock.name} (usually 40 s)"

    @property
    def folder(self) -> Path:
        """The folder of this environment."""
        # The place is part of the key: an environment does not work in a folder that was moved.
        key = digest(self.lock, platform.python_version(), str(self.python), str(self.tools))
        return self.tools / f"venv-{key}"

    def done(self) -> bool:
        """See `Step`."""
        return self._linked() and not self._shut() and not self._drifted()

    def do(self) -> None:
        """See `Step`."""
        if self._linked() and self._repaired():
            self._open()
            return
        made = self.folder  # of the lock as it is now: it may change meanwhile
        try:
            run([self.python, "-m", "venv", "--clear", made])
            pip_install(made / "bin/python", self.lock)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        previous = self.link.resolve()
        with aside(self.tools) as folder:
            if self.link.is_dir() and not self.link.is_symlink():
                self.link.rename(folder / "old")
            new = folder / "new"
            new.symlink_to(made.relative_to(self.link.parent))
            new.replace(self.link)
        for other in self.tools.glob("venv-*"):
            # A running lab may still use the former one.
            if other not in {made, previous}:
                shutil.rmtree(other)

    def _drifted(self) -> list[Difference]:
        """Return the packages that are not as the lock has them: pip was called by hand."""
        return differences(self.lock, self.folder)

    def _repaired(self) -> bool:
        """Install what has drifted; return whether nothing has to be made anew."""
        if not self._drifted():
            return True
        try:
            pip_install(self.folder / "bin/python", self.lock)
        except SetupError as error:  # pip itself may have drifted
            say(f"  that does not work, so it is made anew: {str(error).splitlines()[0]}")
        return not self._drifted()

    def _linked(self) -> bool:
        whole = (self.folder / "bin" / "python").exists()
        return whole and self.link.is_symlink() and self.link.resolve() == self.folder

    def _shut(self) -> bool:
        """Tell whether a party, which has a user of its own, cannot read it: made under umask 077.

        Asked of the folders and of each package, which is a matter of milliseconds.
        """
        packages = list(self.folder.glob("lib/python*/site-packages"))
        inside = [path for place in packages for path in place.iterdir()]
        return any(_lacking(path) for path in (self.folder, *packages, *inside))

    def _open(self) -> None:
        """Let all users read what the owner may read."""
        for place, folders, files in os.walk(self.folder):
            for path in (Path(place), *(Path(place, name) for name in (*folders, *files))):
                if lacking := _lacking(path):
                    path.chmod(stat.S_IMODE(path.stat().st_mode) | lacking)


@dataclass(frozen=True)
class Extra:
    """The packages of a second lock, which not everybody needs, in the same environment."""

    lock: Path
    environment: Path

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"packages of {self.lock.name} (usually 20 s)"

    def done(self) -> bool:
        """See `Step`."""
        return not differences(self.lock, self.environment)

    def do(self) -> None:
        """See `Step`."""
        pip_install(self.environment / "bin/python", self.lock)


def _lacking(path: Path) -> int:
    """Return the bits that others lack to read a file, or to enter a folder, as its owner may."""
    if path.is_symlink():
        return 0
    mode = path.stat().st_mode
    as_owner = mode >> 6 & (0o5 if mode & stat.S_IXUSR else 0o4)
    return (as_owner | as_owner << 3) & ~mode
