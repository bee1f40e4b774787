"""The output of a party, passed on as it comes."""

from __future__ import annotations

import codecs
import os

CHUNK_BYTES = 8000
"""Read at once: a text has at most four times as many characters, an event at most 32,768."""


class Capture:
    r"""One stream of a program; nothing of it stays here. Bytes that are no text become ``\xff``.

    While the deployer takes nothing, nobody calls `read`, and the program waits.
    """

    def __init__(self, stream: str, fd: int) -> None:
        """Read from ``fd``, make it non-blocking, and close it at the end."""
        os.set_blocking(fd, False)
        self.stream = stream
        self.fd = fd
        self.total_bytes = 0
        self.open = True
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode

    def read(self) -> str:
        """Read at most one chunk; return what is to be passed on now."""
        try:
            data = os.read(self.fd, CHUNK_BYTES)
        except BlockingIOError:
            return ""
        if not data:
            self.close()
            return ""
        self.total_bytes += len(data)
        return self._decode(data)

    def finish(self) -> str:
        """Return what is left to be passed on when the stream has ended."""
        return self._decode(b"", final=True)

    def close(self) -> None:
        """Stop reading; a writer gets EPIPE."""
        if self.open:
            self.open = False
            os.close(self.fd)
