"""Private outputs: they stay on the host, in a folder of E3's that only its owner can read.

A later session on the same host may have them as inputs (`e3.party.inputs`), and the deployer may
fetch them. The outputs of the newest sessions are kept, as the deployer keeps evidence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from e3.party.outputs import Found, LeftOut, pieces
from e3.party.removal import remove

OUTPUTS = "outputs"
"""The folder below E3's own on a host."""

KEEP = 50
"""The outputs of that many sessions are kept: of the newest, whose names sort last."""

SESSION = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
"""The names of sessions, which begin with their time."""

UNFINISHED = ".unfinished-"


def keep(files: Sequence[Found], state: Path, session: str, left_out: LeftOut) -> list[Found]:
    """Copy files to the outputs of ``session``; return those copied.

    ``state`` is E3's folder on this host. What cannot be copied, as the disk is full, is left out.
    """
    folder = state / OUTPUTS
    unfinished = folder / f"{UNFINISHED}{session}"
    kept = []
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
        unfinished.mkdir(0o700)
    except OSError as error:
        for file in files:
            left_out.add(file.name, f"its host cannot keep it ({error.strerror})")
        return []
    for file in files:
        place = unfinished / file.name
        try:
            copy(file, place, unfinished)
        except OSError as error:
            left_out.add(file.name, f"its host cannot keep it ({error.strerror})")
            with suppress(OSError):
                place.unlink()
        else:
            kept.append(file)
    if kept:
        unfinished.rename(folder / session)
    else:
        remove(str(unfinished))
    prune(folder, KEEP)
    return kept


def copy(file: Found, place: Path, above: Path) -> None:
    """Copy one file; its folders are made below ``above``."""
    for folder in reversed(place.parents):
        if folder != above and folder.is_relative_to(above):
            folder.mkdir(0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(place, flags, 0o600), "wb") as kept:
        for piece in pieces(file):
            kept.write(piece)


def prune(folder: Path, keep: int) -> None:
    """Remove what an interrupted runner left there, and all but the newest outputs."""
    names = sorted(path.name for path in folder.iterdir())
    sessions = [name for name in names if SESSION.fullmatch(name)]
    old = sessions[: max(len(sessions) - keep, 0)]
    for name in (*old, *(name for name in names if name.startswith(UNFINISHED))):
        remove(str(folder / name))
