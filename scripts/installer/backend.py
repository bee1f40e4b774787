"""Pulumi's local backend: folders under .e3 and the passphrase of its secrets."""

import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from e3 import private

STRIP = ("filter.e3-stack.clean", "sed /^encryptionsalt:/d")
"""Pulumi writes a salt that belongs to this folder's passphrase into Pulumi.<stack>.yaml;
.gitattributes names this filter, so that git never takes it for a change to be committed."""


@dataclass(frozen=True)
class Backend:
    """Pulumi can keep its state here, encrypted with a passphrase that only this folder has."""

    root: Path
    what: str = "Pulumi's local backend in .e3 (at once)"

    def done(self) -> bool:
        """See `Step`."""
        return (
            self._passphrase.exists()
            and self._state.is_dir()
            and not private.loose(self.root / private.TOP)
            and (not self._in_git() or bool(self._git("--get", STRIP[0])))
        )

    def do(self) -> None:
        """See `Step`."""
        private.close(self.root / private.TOP)
        private.folder(self._state)
        # Never replace the passphrase: existing state can only be read with it.
        if not self._passphrase.exists():
            private.write(self._passphrase, secrets.token_urlsafe(32))
        if self._in_git():
            self._git(*STRIP)

    @property
    def _passphrase(self) -> Path:
        return self.root / ".e3" / "passphrase"

    @property
    def _state(self) -> Path:
        return self.root / ".e3" / "state"

    def _in_git(self) -> bool:
        return (self.root / ".git").exists() and shutil.which("git") is not None

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.root), "config", "--local", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
