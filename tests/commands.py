"""The `e3` command as people start it, in a private project."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Command:
    """The command of the project in ``folder``, in an environment of its own or this one."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def begin(
        self, *words: str, cwd: Path | None = None, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """Start it, in a process group of its own as a shell would."""
        return subprocess.Popen(
            [self.folder / "scripts" / "bin" / "e3", *words],
            cwd=cwd or self.folder,
            env=dict(self.environment),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def __call__(
        self, *words: str, cwd: Path | None = None, typed: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        stdin = subprocess.DEVNULL if typed is None else subprocess.PIPE
        with self.begin(*words, cwd=cwd, stdin=stdin) as process:
            out, err = process.communicate(typed, timeout=600)
        return subprocess.CompletedProcess(words, process.returncode, out, err)


def private(folder: Path) -> Command:
    """Return the command of a new project in ``folder`` that has no stack yet."""
    # with the compiled modules, which cost more than a command; not those just being written
    for name in ("e3", "scripts/bin", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc.*"))
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    return Command(folder=folder)
