"""Runs on a host: connections to a party that may not listen yet, and both directions of them.

Standard library only; used by e3/remote/room_ports.py.
"""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter

from e3.remote.tasks import each_to_its_end

RETRY_SECONDS = 0.1
CHUNK_BYTES = 65_536

Connection = tuple[StreamReader, StreamWriter]


async def connect(address: str, port: int, source: str) -> Connection:
    """Return a connection to this host's party from ``source``, once it listens."""
    while True:
        try:
            return await asyncio.open_connection(address, port, local_addr=(source, 0))
        except OSError:
            await asyncio.sleep(RETRY_SECONDS)


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
