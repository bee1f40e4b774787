"""The lab's /etc/hosts: one file that every host shows, changed in place.

It is mounted on each host, so it must stay the same file. A reader never sees half a line:
a line is written once, whole, at the end; a host that goes has its line made a comment by one
byte, and one that comes back gets that byte back.
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


class Names:
    """The names of all hosts of a lab, in the files that hosts mount."""

    def __init__(self, folder: Path) -> None:
        """Make the files in ``folder``."""
        (folder / "resolv.conf").write_text(RESOLV_CONF)
        self._file = os.open(folder / "hosts", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.fchmod(self._file, 0o644)
        os.write(self._file, HEADER.encode())
        self._lines: dict[str, tuple[int, str]] = {}

    def add(self, hosts: Iterable[tuple[str, str]]) -> None:
        """Have each name stand for its address."""
        end = os.fstat(self._file).st_size
        fresh = b""
        for name, address in hosts:
            offset, known = self._lines.get(name, (0, ""))
            if known == address:
                os.pwrite(self._file, address[:1].encode(), offset)
                continue
            if known:
                os.pwrite(self._file, b"#", offset)
            self._lines[name] = (end + len(fresh), address)
            fresh += f"{address} {name}\n".encode()
        os.pwrite(self._file, fresh, end)

    def remove(self, names: Iterable[str]) -> None:
        """Have these names stand for nothing."""
        for name in names:
            if name in self._lines:
                os.pwrite(self._file, b"#", self._lines[name][0])


def check_name(what: str, name: str) -> None:
    """Raise `LabError` unless ``name`` can be a host's name (RFC 1123, lower case)."""
    if not GOOD_NAME.fullmatch(name):
        raise LabError(f"{what} {name!r}: use 1 to 63 lower-case letters, digits and inner hyphens")
