"""The output of a party, limited in size."""

from __future__ import annotations

import codecs
import os

CHUNK_BYTES = 8192
"""Read at once; JSON makes it at most six times as long, so it fits in a line of 64 KiB."""

TAIL_BYTES = 16_384


class Capture:
    """One stream of a program: its beginning is passed on at once, its end when the stream ends.

    Memory stays bounded whatever the program writes: what lies between the first ``keep_bytes``
    and the last `TAIL_BYTES` is counted and dropped.
    """

    def __init__(self, stream: str, fd: int, keep_bytes: int) -> None:
        """Read from ``fd``, make it non-blocking, and close it at the end."""
        os.set_blocking(fd, False)
        self.stream = stream
        self.fd = fd
        self.total_bytes = 0
        self.open = True
        self._room = keep_bytes
        self._tail = b""
        self._dropped = 0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

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
        now, rest = data[: self._room], data[self._room :]
        self._room -= len(now)
        if rest:
            kept = self._tail + rest
            self._tail = kept[-TAIL_BYTES:]
            self._dropped += len(kept) - len(self._tail)
        return self._decode(now)

    def finish(self) -> list[str]:
        """Return what is left to be passed on when the stream has ended, in pieces of a chunk."""
        pieces = [self._tail[i : i + CHUNK_BYTES] for i in range(0, len(self._tail), CHUNK_BYTES)]
        notice = f"\n[{self._dropped} bytes of {self.stream} left out]\n" if self._dropped else ""
        texts = [notice, *map(self._decode, pieces), self._decode(b"", final=True)]
        self._tail = b""
        return [text for text in texts if text]

    def close(self) -> None:
        """Stop reading; a writer gets EPIPE."""
        if self.open:
            self.open = False
            os.close(self.fd)
