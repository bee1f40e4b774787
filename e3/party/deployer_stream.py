"""The runner's stream to and from the deployer: its standard output and input."""

from __future__ import annotations

import os
import selectors
import time

from e3.party.protocol import encode

STALL_SECONDS = 3.0
"""For a deployer that is busy with what it has received; it waits 4 s for the runner's end."""


class DeployerStream:
    """Reads from and writes to the deployer; never blocks, even if the deployer stalls."""

    def __init__(self, said: bytes) -> None:
        """Take over standard input and output under numbers that the program does not inherit.

        ``said`` has been read of the former already.
        """
        self.fd_in, self.fd_out = os.dup(0), os.dup(1)
        self.over = False
        """Whether the deployer is gone: its end of a pipe is closed."""
        self.heard = self.started = time.monotonic()
        self.unread: list[bytes]
        """Lines that have arrived, and were not obeyed yet."""
        *self.unread, self._incoming = said.split(b"\n")
        self._outgoing = bytearray()
        os.set_blocking(self.fd_out, False)

    def say(self, kind: str, *, at: float | None = None, **fields: object) -> None:
        """Send one event with its time, by default the present."""
        seconds = (time.monotonic() if at is None else at) - self.started
        self._outgoing += encode(kind, at=round(seconds, 6), **fields)
        self.flush()

    def flush(self) -> bool:
        """Write what can be written at once; return whether nothing is left."""
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self.fd_out, self._outgoing)]
        except BlockingIOError:
            return False
        except OSError:
            self.over = True
            self._outgoing.clear()
        return True

    def hear(self) -> list[bytes]:
        """Wait until the deployer sends something; return the lines that are complete."""
        data = os.read(self.fd_in, 65536)
        self.over = self.over or not data
        self.heard = time.monotonic()
        *lines, self._incoming = (self._incoming + data).split(b"\n")
        return lines

    def close(self, *, stall_seconds: float = STALL_SECONDS) -> None:
        """Send what is left, as long as the deployer takes more of it within the limit."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.fd_out, selectors.EVENT_WRITE)
            while not self.flush() and not self.over and selector.select(stall_seconds):
                pass
