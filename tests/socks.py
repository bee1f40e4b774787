"""A SOCKS5 proxy (RFC 1928) that resolves names of its own, as Tor's does."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

NAME, CONNECT, GRANTED, REFUSED = 3, 1, 0, 4


@dataclass
class Proxy:
    """What was asked of it: hosts, as they were named, and ports; and whom it has ``joined``."""

    hosts: Mapping[str, tuple[str, int]]
    asked: list[tuple[str, int]] = field(default_factory=list)
    joined: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            _, count = await reader.readexactly(2)
            await reader.readexactly(count)
            writer.write(b"\x05\x00")
            _, command, _, kind = await reader.readexactly(4)
            assert (command, kind) == (CONNECT, NAME), "a name must be resolved by the proxy"
            (length,) = await reader.readexactly(1)
            host = (await reader.readexactly(length)).decode()
            (port,) = struct.unpack(">H", await reader.readexactly(2))
            self.asked.append((host, port))
            there = self.hosts.get(host)
            answer = bytes([5, REFUSED if there is None else GRANTED, 0, 1, 0, 0, 0, 0, 0, 0])
            writer.write(answer)
            if there is not None:
                self.joined.append(writer)
                await _join(reader, writer, await asyncio.open_connection(*there))
        writer.close()


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    other: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_copy(reader, other[1]))
        group.create_task(_copy(other[0], writer))


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
        target.close()


@asynccontextmanager
async def proxying(hosts: Mapping[str, tuple[str, int]]) -> AsyncIterator[tuple[Proxy, str]]:
    """Yield a proxy that reaches these hosts, by name, and its URL."""
    proxy = Proxy(hosts)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        yield proxy, f"socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}"
