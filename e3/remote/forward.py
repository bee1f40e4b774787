"""Runs on a host: forward a connection to another one, which is retried until it exists.

A connection is not closed because its upstream is missing: MPyC does not recover from a connection
that ends early. Standard library only; used by e3/remote/onion_proxy.py.
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
BUFFER_BYTES = 1 << 20
CONNECTED = b"\0"
SOCKS_ADDRESS_BYTES = {1: 4, 4: 16}


class Buffer:
    """What a connection has sent before it is forwarded; ``arrived`` is set by the first bytes."""

    def __init__(self) -> None:
        """Start empty."""
        self.data = bytearray()
        self.arrived = asyncio.Event()

    async def fill(self, reader: StreamReader) -> None:
        """Keep what arrives; return at its end, or when the buffer is full."""
        with contextlib.suppress(ConnectionError):
            while not self.full and (data := await reader.read(CHUNK_BYTES)):
                self.data += data
                self.arrived.set()

    @property
    def full(self) -> bool:
        """Whether no more is read."""
        return len(self.data) >= BUFFER_BYTES


Connection = tuple[StreamReader, StreamWriter]
Upstream = tuple[StreamReader, StreamWriter, int]
"""A connection, and how many bytes of the buffer were sent on it already."""


Forget = Callable[[], Coroutine[Any, Any, None]]
"""Makes Tor forget services and circuits; see `dial`."""


async def dial(  # noqa: PLR0913 - where to, and with what patience
    socks: str,
    onion: str,
    port: int,
    buffer: Buffer,
    *,
    forget: Forget,
    patience_seconds: float = STUCK_SECONDS,
) -> Upstream:
    """Return a connection to the party behind an onion service; retry until there is one.

    After a failure Tor does not try again for minutes, and it waits as long for a dead circuit
    (hs_cache.h, hs_common.h, SocksTimeout). So each attempt has a limit, and Tor is told to
    ``forget`` when attempts have failed for ``patience_seconds``, then twice that, ...
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_WORDS_SECONDS):
            await buffer.arrived.wait()
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(ATTEMPT_SECONDS):
                upstream = await _dial_once(
                    socks, f"{onion}.onion".encode(), port, bytes(buffer.data)
                )
            if upstream is not None:
                return upstream
        if time.monotonic() - began > patience_seconds:
            patience_seconds *= 2
            with contextlib.suppress(OSError):
                await forget()
        await asyncio.sleep(DIAL_AGAIN_SECONDS)


async def _dial_once(socks: str, name: bytes, port: int, words: bytes) -> Upstream | None:
    reader, writer = await asyncio.open_unix_connection(socks)
    upstream = None
    try:
        # SOCKS 5 (RFC 1928): no authentication; connect to a name
        writer.write(b"\5\1\0\5\1\0\3" + bytes([len(name)]) + name + VIRTUAL_PORT.to_bytes(2))
        # Sent at once, Tor takes it along; each round trip through six relays is a second.
        writer.write(port.to_bytes(2) + words)
        await reader.readexactly(2)
        _, status, _, kind = await reader.readexactly(4)
        if status == 0:
            await reader.readexactly(SOCKS_ADDRESS_BYTES[kind] + 2)
            if await reader.readexactly(1) == CONNECTED:
                upstream = reader, writer, len(words)
        return upstream
    finally:
        if upstream is None:
            writer.close()


async def connect(address: str, port: int, source: str) -> Upstream:
    """Return a connection to this host's party from ``source``, once it listens."""
    while True:
        try:
            return *await asyncio.open_connection(address, port, local_addr=(source, 0)), 0
        except OSError:
            await asyncio.sleep(RETRY_SECONDS)


async def forward(
    reader: StreamReader,
    writer: StreamWriter,
    connect_upstream: Callable[[Buffer], Coroutine[Any, Any, Upstream]],
    *,
    greeting: bytes = b"",
) -> None:
    """Forward a connection to the one of ``connect_upstream``, unless it is closed before."""
    buffer = Buffer()
    async with (
        beside(buffer.fill(reader)) as filling,
        beside(connect_upstream(buffer)) as connecting,
    ):
        await asyncio.wait({filling, connecting}, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done() and not buffer.full:
            return
        far_reader, far_writer, said = await connecting
    async with closing(far_writer):
        writer.write(greeting)
        far_writer.write(buffer.data[said:])
        await both_ways((reader, writer), (far_reader, far_writer))


async def both_ways(one: Connection, other: Connection) -> None:
    """Forward both directions of two connections to their ends."""
    await each_to_its_end([_pump(one[0], other[1]), _pump(other[0], one[1])])


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    """Forward one direction to its end, then the end itself."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@contextlib.asynccontextmanager
async def closing(writer: StreamWriter) -> AsyncIterator[None]:
    """Close a connection at the end of the block; that the other side closed it is no error."""
    try:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            yield
    finally:
        writer.close()
