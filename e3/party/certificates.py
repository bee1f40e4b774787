"""Key and certificate of a party, laid where MPyC looks for them: ``.config`` beside the program.

They come there after the agreement, since they are no part of the program, and go with the
session's folder.
"""

from __future__ import annotations

from pathlib import Path

from e3.party.protocol import Spec

FOLDER = "tls"
"""Below a session's folder: where the deployer leaves them."""

AUTHORITY, CERTIFICATE, KEY = "ca.crt", "party.crt", "party.key"

KEY_MODE = 0o600


def lay(spec: Spec, folder: str) -> None:
    """Move them to the names that MPyC knows, in place of any that the program brought along."""
    target = Path(folder, "program", spec.entry).parent / ".config"
    target.mkdir(exist_ok=True)
    for name, known in (
        (AUTHORITY, "mpyc_ca.crt"),
        (CERTIFICATE, f"party_{spec.pid}.crt"),
        (KEY, f"party_{spec.pid}.key"),
    ):
        file = Path(folder, FOLDER, name)
        if name == KEY:
            file.chmod(KEY_MODE)
        file.replace(target / known)
