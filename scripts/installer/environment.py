"""The Python environment: .venv, from requirements.txt with hashes."""

import platform
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from installer.steps import aside, digest, pip_install, run


@dataclass(frozen=True)
class Environment:
    """``link`` leads to a virtual environment with exactly the packages of the lock.

    An environment cannot be renamed (its scripts name their interpreter), so each is made at
    its own place, named by what is in it; the link moves there once it is whole.
    """

    lock: Path
    link: Path
    tools: Path
    # Not sys.executable: that may be the environment to be replaced.
    python: Path = field(default_factory=lambda: Path(sys.executable).resolve())

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"{self.link.name} from {self.lock.name} (usually 40 s)"

    @property
    def folder(self) -> Path:
        """Where this environment belongs."""
        # The place is part of the key: an environment does not work in a folder that was moved.
        key = digest(self.lock, platform.python_version(), str(self.python), str(self.tools))
        return self.tools / f"venv-{key}"

    def done(self) -> bool:
        """See `Step`."""
        whole = (self.folder / "bin" / "python").exists()
        return whole and self.link.is_symlink() and self.link.resolve() == self.folder

    def do(self) -> None:
        """See `Step`."""
        try:
            run([self.python, "-m", "venv", "--clear", self.folder])
            pip_install(self.folder / "bin/python", self.lock)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        previous = self.link.resolve()
        with aside(self.tools) as folder:
            if self.link.is_dir() and not self.link.is_symlink():
                self.link.rename(folder / "old")
            new = folder / "new"
            new.symlink_to(self.folder.relative_to(self.link.parent))
            new.replace(self.link)
        for other in self.tools.glob("venv-*"):
            # A lab that is up may still run from the one before.
            if other not in {self.folder, previous}:
                shutil.rmtree(other)
