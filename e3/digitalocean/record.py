"""All labels that a stack ever had, kept beside its other files for `e3 verify-gone`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from e3 import private

FILE = "digitalocean.json"


@dataclass(frozen=True, kw_only=True)
class CloudRecord:
    """A label, and the Spaces region of its bucket if it has one."""

    label: str
    spaces_region: str = ""


def add(folder: Path, entry: CloudRecord) -> None:
    """Add an entry to the record of the stack whose files are in ``folder``."""
    entries = {known.label: known for known in entries_of(folder)} | {entry.label: entry}
    private.folder(folder)
    text = json.dumps([asdict(entry) for entry in entries.values()], indent=1)
    private.write(folder / FILE, text)


def entries_of(folder: Path) -> list[CloudRecord]:
    """Return the record of the stack whose files are in ``folder``."""
    path = folder / FILE
    return [CloudRecord(**row) for row in json.loads(path.read_text())] if path.exists() else []
