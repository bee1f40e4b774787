"""All that a party printed: in memory while it is short, then in a file without a name.

The file is gone once it is closed, however this process ends. So two parties' outputs can be
compared to the end, and memory stays bounded.
"""

import hashlib
import io
import tempfile
import weakref
from pathlib import Path
from typing import BinaryIO

from e3.session.excerpt import Excerpt

SHOWN_DIGITS = 16
"""How much of the digest stands in an excerpt."""


class Transcript:
    """What a party has printed so far, as UTF-8 with lone surrogates encoded like others."""

    def __init__(self, most: int) -> None:
        """Keep ``most`` characters in memory."""
        self.folder: Path | None = None
        """Where the file is made; default: among temporary files."""
        self.size_bytes = 0
        self.blank = True
        """Whether nothing but white space was printed."""
        self._most_bytes = most
        self._excerpt = Excerpt(most)
        self._hash = hashlib.sha256()
        self._file: BinaryIO = io.BytesIO()
        self._complete = True

    def add(self, text: str) -> None:
        """Add a piece at the end."""
        data = text.encode("utf-8", "surrogatepass")
        self._excerpt.add(text)
        self._hash.update(data)
        self.blank = self.blank and not text.strip()
        before, self.size_bytes = self.size_bytes, self.size_bytes + len(data)
        try:
            if before <= self._most_bytes < self.size_bytes:
                self._move()
            if self._complete:
                self._file.write(data)
        except OSError:  # a full disk: that it differs is still known, but not where
            self._complete = False

    @property
    def digest(self) -> str:
        """The SHA-256 of everything, in hexadecimal."""
        return self._hash.hexdigest()

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        return self._excerpt.last_line

    def read(self, start: int, most: int) -> bytes:
        """Return at most ``most`` bytes from ``start`` on; fewer at the end only."""
        self._file.seek(start)
        data = self._file.read(most)
        self._file.seek(0, io.SEEK_END)
        return data

    def close(self) -> None:
        """Remove the file; nothing can be added or read any more."""
        self._file.close()

    def __str__(self) -> str:
        """Return the excerpt; where characters are left out, it has the digest of everything."""
        return self._excerpt.text(f"SHA-256 of everything: {self.digest[:SHOWN_DIGITS]}...")

    def _move(self) -> None:
        short = self._file
        self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 -- `close` closes it
        weakref.finalize(self, self._file.close)
        self._file.write(short.getvalue())  # type: ignore[attr-defined]  # a BytesIO
