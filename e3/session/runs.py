"""The runs of a stack, read from their evidence."""

import contextlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from e3.remote.text import printable
from e3.session.evidence import LATEST
from e3.session.queue import holder

KEEP = 50
"""The evidence of that many runs of a stack is kept: of the newest."""

NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
"""The form of `e3.session.run_session.new_id`; names sort by time, to the second."""

LENGTH = 4000
"""The most characters of a text in a run's files that are shown."""

RUNNING = "running"
INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """One run, as its folder describes it.

    ``verdict`` is that of its result; without a result it is ``running``, or ``interrupted`` if
    the process that ran it was killed. ``hosts`` are those of the parties by pid. ``private`` says
    that their output files stayed there.
    """

    id: str
    folder: Path
    program: str
    args: tuple[str, ...]
    overlay: str
    hosts: tuple[str, ...]
    started: datetime
    verdict: str
    reason: str
    seconds: float | None
    private: bool = False

    @property
    def running(self) -> bool:
        """Whether the run has not ended."""
        return self.verdict == RUNNING


def runs(sessions: Path) -> list[RecordedRun]:
    """Return the runs below ``sessions``, the newest last."""
    folders = _folders(sessions)
    now = holder(sessions)  # read after the folders: a session takes the lock before it makes one
    found = [
        _read(folder, running=now is not None and now.session == folder.name) for folder in folders
    ]
    return sorted(found, key=lambda run: run.started)


def resolve(sessions: Path, name: str) -> list[RecordedRun]:
    """Return the runs that ``name`` may mean: the latest, or those whose id begins or ends so."""
    known = runs(sessions)
    if name == LATEST:
        return known[-1:]
    return [run for run in known if run.id.startswith(name) or run.id.endswith(f"-{name}")]


def prune(sessions: Path, keep: int = KEEP) -> None:
    """Remove the evidence of all but the newest runs; the caller holds the lock."""
    folders = _folders(sessions)
    for folder in folders[: max(len(folders) - keep, 0)]:
        shutil.rmtree(folder, ignore_errors=True)


def _folders(sessions: Path) -> Sequence[Path]:
    found = sessions.iterdir() if sessions.is_dir() else ()
    return sorted(path for path in found if NAME.fullmatch(path.name) and not path.is_symlink())


def _read(folder: Path, *, running: bool) -> RecordedRun:
    """Return what a folder describes, as far as its files have the form of this version."""
    manifest, result = _load(folder / "manifest.json"), _load(folder / "result.json")
    parties = [party for party in _items(manifest, "parties") if isinstance(party, dict)]
    hosts = [_text(party, "host") for party in parties]
    seconds = result.get("wall_seconds")
    return RecordedRun(
        id=folder.name,
        folder=folder,
        program=_text(manifest, "program"),
        args=tuple(printable(arg, LENGTH) for arg in _items(manifest, "args")),
        overlay=_text(manifest, "overlay"),
        hosts=tuple(host for host in hosts if host and "/" not in host),
        started=_started(folder.name, manifest),
        verdict=_text(result, "verdict") or (RUNNING if running else INTERRUPTED),
        reason=_text(result, "reason"),
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
        private=manifest.get("outputs") == "private",
    )


def _text(content: Mapping[str, Any], key: str) -> str:
    """Return a text, made printable: another version or a program may have written it."""
    value = content.get(key)
    return printable(value, LENGTH) if isinstance(value, str) else ""


def _items(content: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = content.get(key)
    return value if isinstance(value, list) else ()


def _started(name: str, manifest: Mapping[str, Any]) -> datetime:
    """Return when a run began: by its manifest, else by its name."""
    with contextlib.suppress(ValueError):
        said = datetime.fromisoformat(_text(manifest, "started"))
        if said.tzinfo is not None:
            return said
    with contextlib.suppress(ValueError):
        return datetime.strptime(name.rpartition("-")[0], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    return datetime.fromtimestamp(0, UTC)


def _load(path: Path) -> Mapping[str, Any]:
    """Return the content of a file of the evidence; nothing if it is missing or incomplete."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            return content
    return {}
