"""What a person types while a session runs: the standard input of one party's program."""

import asyncio
import base64
import contextlib
from typing import Protocol

from e3.interfaces import Process
from e3.party.protocol import encode

READY = (b'{"e3":"started"', b'{"e3":"took"')
"""How events begin after which a runner takes more; see `e3.party.protocol`."""


class Console(Protocol):
    """Where a person types, and reads what that party prints."""

    async def read(self) -> bytes:
        """Return what was typed next, at most `PIECE_BYTES`; nothing at the end."""

    def show(self, text: str) -> None:
        """Show what the party printed; anybody may have written it."""


PIECE_BYTES = 32_768
"""The most bytes of one message."""


class Typing:
    """Passes on what is typed, one piece after another, as the runner takes it."""

    def __init__(self, console: Console) -> None:
        """Read from ``console``."""
        self.console = console
        self._ready = asyncio.Event()

    def hear(self, line: bytes) -> None:
        """Take note of a line of the runner."""
        if line.startswith(READY):
            self._ready.set()

    async def pass_on(self, process: Process) -> None:
        """Send what is typed to the runner, until its end."""
        data = b"..."
        with contextlib.suppress(OSError):  # the runner has ended
            while data:
                await self._ready.wait()
                self._ready.clear()
                data = await self.console.read()
                process.stdin.write(encode("typed", data=base64.b64encode(data).decode()))
                await process.stdin.drain()
