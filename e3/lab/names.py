"""The lab's /etc/hosts: one file that every host mounts, changed in place.

It is mounted on each host, so it must stay the same file. A reader never sees half a line: a
new line is appended at once. When a host is removed, one byte turns its line into a comment, and
when it returns that byte is restored.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from e3.errors import LabError

HEADER = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
RESOLV_CONF = (
    "# the lab has no name server; its hosts are in /etc/hosts\noptions timeout:1 attempts:1\n"
)
GOOD_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class HostsFile:
    """The names of all hosts of a lab, in the file that hosts mount."""

    def __init__(self, folder: Path) -> None:
        """Make the files in ``folder``."""
        resolver = folder / "resolv.conf"
        resolver.write_text(RESOLV_CONF)
        resolver.chmod(0o644)  # any user of a host reads it
        self._file = os.open(folder / "hosts", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.fchmod(self._file, 0o644)
        os.write(self._file, HEADER.encode())
        self._lines: dict[str, dict[str, int]] = {}  # by name, then by address: its offset

    def add(self, hosts: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """Set the addresses of each name."""
        end = os.fstat(self._file).st_size
        fresh = b""
        for name, addresses in hosts:
            known = self._lines.get(name, {})
            if tuple(known) == addresses:
                for address, offset in known.items():
                    os.pwrite(self._file, address[:1].encode(), offset)
                continue
            self.remove([name])
            self._lines[name] = {}
            for address in addresses:
                self._lines[name][address] = end + len(fresh)
                fresh += f"{address} {name}\n".encode()
        os.pwrite(self._file, fresh, end)

    def remove(self, names: Iterable[str]) -> None:
        """Remove these names."""
        for name in names:
            for offset in self._lines.get(name, {}).values():
                os.pwrite(self._file, b"#", offset)


def check_name(what: str, name: str) -> None:
    """Raise `LabError` unless ``name`` can be a host's name (RFC 1123, lower case)."""
    if not GOOD_NAME.fullmatch(name):
        raise LabError(f"{what} {name!r}: use 1 to 63 lower-case letters, digits and inner hyphens")
