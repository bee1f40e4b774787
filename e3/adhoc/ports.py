"""How a program reaches its peers where there is no TUN device: by ports of the tunnel's program.

`e3-tunnel` then has a TCP stack of its own, and a local port for each peer. The program's room has
no network in common with it, so connections pass by Unix sockets (`e3.remote.room_ports`).
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from e3.adhoc.room import Room
from e3.errors import SessionError
from e3.interfaces import Endpoint
from e3.remote.room_ports import join
from e3.remote.text import printable
from e3.tunnel import Tunnel

DEVICE = Path("/dev/net/tun")
SOURCES = "127.77.0"
"""The loopback addresses by which the tunnel's program says whose a connection is."""

READY_SECONDS = 10.0

Take = Callable[[StreamReader, StreamWriter], Awaitable[None]]
"""Takes a connection, as servers of asyncio call it."""

CALL = "import sys; sys.path.insert(0, {root!r}); from e3.remote import room_ports as it; it.main()"


def device_works() -> bool:
    """Return whether this user may open a TUN device."""
    return os.access(DEVICE, os.R_OK | os.W_OK)


@asynccontextmanager
async def forwarded(
    driver: Tunnel, room: Room, pid: int, endpoints: Sequence[Endpoint]
) -> AsyncIterator[None]:
    """Let the program of party ``pid`` reach all ``endpoints``, and its peers reach its own.

    All peers must be known to the tunnel. Raises `SessionError` if the room does not take part.
    """
    # not in the user's folder: the path of a Unix socket has 107 characters at most
    folder = Path(tempfile.mkdtemp(prefix="e3-"))
    sockets = [str(folder / str(peer)) for peer in range(len(endpoints))]
    async with AsyncExitStack() as held:
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        for peer, endpoint in enumerate(endpoints):
            if peer != pid:
                local = await driver.dial(peer, endpoint.port)
                server = await asyncio.start_unix_server(_outward(local), sockets[peer])
                held.callback(server.close)
        await held.enter_async_context(_in_room(room, pid, endpoints, sockets))
        entry = await asyncio.start_server(_inward(sockets[pid]), "127.0.0.1", 0)
        held.callback(entry.close)
        port = entry.sockets[0].getsockname()[1]
        sources = {peer: _source(peer) for peer in range(len(endpoints)) if peer != pid}
        await driver.serve(endpoints[pid].port, f"127.0.0.1:{port}", sources)
        yield


@asynccontextmanager
async def _in_room(
    room: Room, pid: int, endpoints: Sequence[Endpoint], sockets: Sequence[str]
) -> AsyncIterator[None]:
    call = CALL.format(root=str(Path(__file__).parents[2]))
    asked = {
        "addresses": [each.address for each in endpoints],
        "pid": pid,
        "ports": [each.port for each in endpoints],
        "sockets": sockets,
    }
    async with room.host.access.attach([sys.executable, "-I", "-c", call]) as process:
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        said = b""
        try:
            async with asyncio.timeout(READY_SECONDS):
                said = await process.stdout.readline()
        except TimeoutError:
            said = b"no answer in time"
        if said != b"ready\n":
            why = printable(said.decode(errors="replace").strip() or "no answer")
            raise SessionError(f"the program's room takes no connections of peers ({why})")
        yield


def _source(pid: int) -> str:
    return f"{SOURCES}.{pid + 1}"


def _outward(local: str) -> Take:
    address, _, port = local.rpartition(":")

    async def take(reader: StreamReader, writer: StreamWriter) -> None:
        await join(reader, writer, await asyncio.open_connection(address, int(port)))

    return take


def _inward(path: str) -> Take:
    async def take(reader: StreamReader, writer: StreamWriter) -> None:
        source = writer.get_extra_info("peername")[0]
        far_reader, far_writer = await asyncio.open_unix_connection(path)
        far_writer.write(bytes([int(source.rpartition(".")[2]) - 1]))
        await join(reader, writer, (far_reader, far_writer))

    return take
