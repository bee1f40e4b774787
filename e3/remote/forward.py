"""Runs on a host: a connection carried on to where it leads, with all the patience that takes.

Nothing is closed because the way is not there yet: MPyC does not recover from a connection that
ends early. Standard library only; part of e3/remote/onion_proxy.py.
"""

import asyncio
import contextlib
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from e3.remote.tasks import beside, each_to_its_end

VIRTUAL_PORT = 1
RETRY_SECONDS = 0.1
DIAL_AGAIN_SECONDS = 0.5
ATTEMPT_SECONDS = 30.0
STUCK_SECONDS = 10.0
FIRST_WORDS_SECONDS = 0.02
CHUNK_BYTES = 65_536
HELD_BYTES = 1 << 20
CONNECTED = b"\0"
SOCKS_ADDRESS_BYTES = {1: 4, 4: 16}


class Held:
    """What a connection has said so far and nobody has taken; ``arrived`` once it said anything."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.data = bytearray()
        self.arrived = asyncio.Event()

    async def fill(self, reader: StreamReader) -> None:
        """Keep what arrives; return at its end, or when there is too much."""
        with contextlib.suppress(ConnectionError):
            while not self.full and (data := await reader.read(CHUNK_BYTES)):
                self.data += data
                self.arrived.set()

    @property
    def full(self) -> bool:
        """Return whether no more is read."""
        return len(self.data) >= HELD_BYTES


Link = tuple[StreamReader, StreamWriter, int]
"""A connection, and how many of the held bytes it has taken already."""


Forget = Callable[[], Coroutine[Any, Any, None]]
"""Has Tor forget what it knows of services and of the ways to them; see `dial`."""


async def dial(  # noqa: PLR0913 - where to, and with what patience
    socks: str,
    onion: str,
    port: int,
    held: Held,
    *,
    forget: Forget,
    patience_seconds: float = STUCK_SECONDS,
) -> Link:
    """Return a connection to the party behind an onion service, trying until there is one.

    Tor does not try again for minutes where it has failed, and waits as long for a circuit that
    leads nowhere (hs_cache.h, hs_common.h, SocksTimeout): so no attempt is endless, and Tor is
    told to ``forget`` when attempts have failed for ``patience_seconds``, then twice that, ...
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_WORDS_SECONDS):
            await held.arrived.wait()
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(ATTEMPT_SECONDS):
                link = await _dial_once(socks, f"{onion}.onion".encode(), port, bytes(held.data))
            if link is not None:
                return link
        if time.monotonic() - began > patience_seconds:
            patience_seconds *= 2
            with contextlib.suppress(OSError):
                await forget()
        await asyncio.sleep(DIAL_AGAIN_SECONDS)


async def _dial_once(socks: str, name: bytes, port: int, words: bytes) -> Link | None:
    reader, writer = await asyncio.open_unix_connection(socks)
    link = None
    try:
        # SOCKS 5 (RFC 1928): no authentication; connect to a name
        writer.write(b"\5\1\0\5\1\0\3" + bytes([len(name)]) + name + VIRTUAL_PORT.to_bytes(2))
        # Said at once, Tor takes it along; each round trip through six relays is a second.
        writer.write(port.to_bytes(2) + words)
        await reader.readexactly(2)
        _, status, _, kind = await reader.readexactly(4)
        if status == 0:
            await reader.readexactly(SOCKS_ADDRESS_BYTES[kind] + 2)
            if await reader.readexactly(1) == CONNECTED:
                link = reader, writer, len(words)
        return link
    finally:
        if link is None:
            writer.close()


async def connect(address: str, port: int, source: str) -> Link:
    """Return a connection to this host's party from ``source``, as soon as it listens."""
    while True:
        try:
            return *await asyncio.open_connection(address, port, local_addr=(source, 0)), 0
        except OSError:
            await asyncio.sleep(RETRY_SECONDS)


async def carry(
    reader: StreamReader,
    writer: StreamWriter,
    lead: Callable[[Held], Coroutine[Any, Any, Link]],
    *,
    greeting: bytes = b"",
) -> None:
    """Carry a connection on to where ``lead`` leads, unless its own end goes first."""
    held = Held()
    async with beside(held.fill(reader)) as holding, beside(lead(held)) as leading:
        await asyncio.wait({holding, leading}, return_when=asyncio.FIRST_COMPLETED)
        if not leading.done() and not held.full:
            return
        far_reader, far_writer, said = await leading
    async with closing(far_writer):
        writer.write(greeting)
        far_writer.write(held.data[said:])
        await each_to_its_end([_pump(reader, far_writer), _pump(far_reader, writer)])


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    """Carry one direction to its end, and the end itself."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@contextlib.asynccontextmanager
async def closing(writer: StreamWriter) -> AsyncIterator[None]:
    """Close a connection in the end; that its other side closed it is no error."""
    try:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            yield
    finally:
        writer.close()
