"""In a room without a TUN device: the addresses of all parties, whose connections leave by sockets.

A room has a loopback interface and nothing else. It gets the tunnel addresses of all parties. What
the program sends to a peer's goes to a Unix socket, which is outside of every network namespace;
what peers send comes by another one, and reaches the program from the peer's own address.

It is told on standard input, as a line of JSON, and ends with that input.
"""

import asyncio
import contextlib
import functools
import json
import subprocess
import sys
from asyncio import StreamReader, StreamWriter

from e3.remote.tasks import each_to_its_end

SECONDS = 10
RETRY_SECONDS = 0.1
CHUNK_BYTES = 65_536

Connection = tuple[StreamReader, StreamWriter]


async def join(reader: StreamReader, writer: StreamWriter, other: Connection) -> None:
    """Forward both directions of two connections to their ends, then close both."""
    try:
        await each_to_its_end([_pump(reader, other[1]), _pump(other[0], writer)])
    finally:
        other[1].close()
        writer.close()


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    """Forward one direction to its end, then the end itself."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def connect(address: str, port: int, source: str) -> Connection:
    """Return a connection to this host's party from ``source``, once it listens."""
    while True:
        try:
            return await asyncio.open_connection(address, port, local_addr=(source, 0))
        except OSError:
            await asyncio.sleep(RETRY_SECONDS)


async def outward(path: str, reader: StreamReader, writer: StreamWriter) -> None:
    """Forward a connection of the program to a peer."""
    await join(reader, writer, await asyncio.open_unix_connection(path))


async def inward(
    own: tuple[str, int], sources: list[str], reader: StreamReader, writer: StreamWriter
) -> None:
    """Forward a connection of a peer, whose pid is the first byte, to the program."""
    source = sources[(await reader.readexactly(1))[0]]
    # once the program listens: MPyC does not recover from an end
    await join(reader, writer, await connect(*own, source))


async def serve(addresses: list[str], pid: int, ports: list[int], sockets: list[str]) -> None:
    """Forward until the input ends; ``sockets`` has that of each peer, and our own at ``pid``."""
    own = (addresses[pid], ports[pid])
    for peer, (address, port, path) in enumerate(zip(addresses, ports, sockets, strict=True)):
        if peer != pid:
            await asyncio.start_server(functools.partial(outward, path), address, port)
    take = functools.partial(inward, own, addresses)
    await asyncio.start_unix_server(take, sockets[pid])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    await ended.wait()


def main() -> None:
    """Read what is asked for, and serve."""
    asked = json.loads(sys.stdin.buffer.readline())
    for address in asked["addresses"]:
        add = ["ip", "address", "add", f"{address}/32", "dev", "lo"]
        subprocess.run(add, check=True, timeout=SECONDS)
    asyncio.run(serve(asked["addresses"], asked["pid"], asked["ports"], asked["sockets"]))


if __name__ == "__main__":
    main()
