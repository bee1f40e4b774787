"""The protocol of a call to a host.

To the host go frames, each a length of four bytes and that many bytes. The length `END` says that
the command's input ends, `BEAT` that the caller is still there. The end of the stream itself means
that the caller is gone. From the host comes `MARK` on a line of its own, then the verb's answer; a
login shell may print anything before `MARK`.
"""

from __future__ import annotations

import json
import os
from typing import Any

MARK = b"\x02e3\n"
END, BEAT = 0, 0xFFFF_FFFF
PIECE_BYTES = 1 << 20
BEAT_SECONDS = 10.0
SILENCE_SECONDS = 60.0


class CallerGoneError(Exception):
    """The stream of frames ended."""


def frame(data: bytes) -> bytes:
    """Return ``data``, which is not empty, as frames."""
    pieces = [data[i : i + PIECE_BYTES] for i in range(0, len(data), PIECE_BYTES)]
    return b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces)


def sign(kind: int) -> bytes:
    """Return the frame `END` or `BEAT`."""
    return kind.to_bytes(4, "big")


def begin() -> None:
    """Write `MARK`: what follows on standard output is ours; set the usual umask for files."""
    os.umask(0o022)
    write(MARK)


def write(data: bytes) -> None:
    """Write all of ``data`` to standard output."""
    while data:
        data = data[os.write(1, data) :]


def answer(values: dict[str, Any]) -> None:
    """Answer with one line of JSON."""
    write(json.dumps(values).encode() + b"\n")


def read(size: int) -> bytes:
    """Read exactly ``size`` bytes of content from the frames; `END` and `BEAT` are skipped."""
    content = b""
    while len(content) < size:
        length = int.from_bytes(_exactly(4), "big")
        if length not in {END, BEAT}:
            content += _exactly(length)
    return content


def environment(request: dict[str, Any]) -> dict[str, str]:
    """Return the environment of commands; None in the request means the login's own value."""
    asked = request["environment"].items()
    return {name: os.environ.get(name, "/") if text is None else text for name, text in asked}


def _exactly(size: int) -> bytes:
    parts = []
    while size:
        part = os.read(0, size)
        if not part:
            raise CallerGoneError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
