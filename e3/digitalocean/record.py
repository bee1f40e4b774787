"""All labels that a stack ever had, kept beside its other files for `e3 verify-gone`."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from e3 import private
from e3.errors import ConfigurationError

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
    text = msgspec.json.format(msgspec.json.encode(list(entries.values())), indent=1)
    private.write(folder / FILE, text.decode())


def entries_of(folder: Path) -> list[CloudRecord]:
    """Return the record of the stack whose files are in ``folder``."""
    path = folder / FILE
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[CloudRecord])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error}; it has the labels of what the stack made at "
            "DigitalOcean: look for them in the console, then remove the file"
        ) from None
