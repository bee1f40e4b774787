"""Pulumi's local backend: folders under .e3 and the passphrase of its secrets."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from e3 import private


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
        )

    def do(self) -> None:
        """See `Step`."""
        private.close(self.root / private.TOP)
        private.folder(self._state)
        # Never replace the passphrase: existing state can only be read with it.
        if not self._passphrase.exists():
            private.write(self._passphrase, secrets.token_urlsafe(32))

    @property
    def _passphrase(self) -> Path:
        return self.root / ".e3" / "passphrase"

    @property
    def _state(self) -> Path:
        return self.root / ".e3" / "state"
