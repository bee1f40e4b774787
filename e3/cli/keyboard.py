"""The caller's standard input, for a party's program; a terminal, a pipe or a file."""

import asyncio
import os
import sys

from e3.remote.text import printable_lines
from e3.session.console import PIECE_BYTES

REMARK = "[e3: "
"""How E3's own lines in a log begin."""


class Keyboard:
    """Reads standard input without a thread, which would wait for it beyond the session's end."""

    def __init__(self, *, quietly: bool) -> None:
        """Show what the party prints on standard output; ``quietly`` uses standard error."""
        self._stream = sys.stderr if quietly else sys.stdout

    async def read(self) -> bytes:
        """See `e3.session.console.Console`."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(0, ready.set)
        except OSError:  # a file: it never lets wait, so the loop refuses it
            return os.read(0, PIECE_BYTES)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(0)
        return os.read(0, PIECE_BYTES)

    def show(self, text: str) -> None:
        """See `e3.session.console.Console`."""
        if not text.startswith(REMARK):
            self._stream.write(printable_lines(text))
            self._stream.flush()
