"""The onion proxy: keys, how long it tries, and the address that a connection comes from."""

import asyncio
import base64
import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path

from e3.remote.forward import Buffer, connect, dial, forward
from e3.remote.onion_proxy import expanded, make_keys, onion_address

PUBLISHED = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid"
"""The address of the Tor Project's own site."""

SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
SCALAR = "307c83864f2833cb427a2ef1c00a013cfdff2768d980c0a3a520f006904de94f"
"""RFC 8032, section 7.1, test 1: the secret key, and the scalar that is made of it."""


def test_a_key_gives_the_address_of_its_service() -> None:
    public = base64.b32decode(PUBLISHED.upper())[:32]
    assert onion_address(public) == PUBLISHED


def test_a_secret_is_expanded_as_the_standard_says() -> None:
    assert base64.b64decode(expanded(bytes.fromhex(SEED)))[:32].hex() == SCALAR


def test_keys_are_made_once_and_only_for_peers(tmp_path: Path) -> None:
    first = make_keys(tmp_path / "keys", ["ams3-1", "nyc3-0"])
    assert len(base64.b32decode(first["key"] + "====")) == 32
    assert make_keys(tmp_path / "keys", ["ams3-1", "nyc3-0"]) == first
    fewer = make_keys(tmp_path / "keys", ["nyc3-0"])
    assert fewer["services"] == {"nyc3-0": first["services"]["nyc3-0"]}
    again = make_keys(tmp_path / "keys", ["ams3-1", "nyc3-0"])
    assert again["services"]["ams3-1"] != first["services"]["ams3-1"]
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "keys").iterdir()} == {0}


class Tor:
    """Stands for Tor: refuses some attempts, then serves as the far end itself."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.heard = b""
        self.forgot = 0

    async def forget(self) -> None:
        self.forgot += 1
        raise ConnectionRefusedError  # Tor itself may not run

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.readexactly(3)
            head = await reader.readexactly(5)
            name = await reader.readexactly(head[4])
            await reader.readexactly(2)
            self.refusals -= 1
            if self.refusals >= 0:
                writer.write(b"\5\0\5\4\0\1" + bytes(6))
                return
            port = int.from_bytes(await reader.readexactly(2), "big")
            assert (name, port) == (b"x.onion", 11_365)
            writer.write(b"\5\0\5\0\0\1" + bytes(6) + b"\0")
            self.heard = await reader.readexactly(5)
            writer.write(b"world")
            await writer.drain()


@contextlib.asynccontextmanager
async def proxy(tmp_path: Path, tor: Tor) -> AsyncIterator[int]:
    """Yield the port of an onion proxy that leads to the far end behind ``tor``."""
    socks = tmp_path / "socks"

    async def depart(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            connect_upstream = functools.partial(
                dial, str(socks), "x", 11_365, forget=tor.forget, patience_seconds=0.2
            )
            await forward(reader, writer, connect_upstream)

    async with (
        await asyncio.start_unix_server(tor, socks),
        await asyncio.start_server(depart, "127.0.0.1", 0) as server,
    ):
        yield server.sockets[0].getsockname()[1]


def test_a_connection_waits_for_tor_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        tor = Tor(refusals=2)
        async with proxy(tmp_path, tor) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"world"
            assert (tor.heard, tor.forgot) == (b"hello", 1)
            assert await reader.read() == b""
            writer.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_no_attempt_follows_once_the_caller_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        tor = Tor(refusals=1000)
        async with proxy(tmp_path, tor) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            tried = tor.refusals
            await asyncio.sleep(1)
            assert tor.refusals == tried

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_party_that_listens_later_is_reached_from_the_peers_address() -> None:
    async def scenario() -> None:
        seen = asyncio.get_running_loop().create_future()

        def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.set_result(writer.get_extra_info("peername")[0])
            writer.close()

        free = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = free.sockets[0].getsockname()[1]
        free.close()
        await free.wait_closed()
        connecting = asyncio.ensure_future(connect("127.77.0.1", port, "127.77.0.2"))
        await asyncio.sleep(0.2)
        assert not connecting.done()
        async with await asyncio.start_server(accept, "127.77.0.1", port):
            _, writer, said = await connecting
            assert (await seen, said) == ("127.77.0.2", 0)
            writer.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_buffer_is_bounded() -> None:
    async def scenario() -> None:
        reader = asyncio.StreamReader(limit=1 << 22)
        reader.feed_data(bytes(1 << 21))
        buffer = Buffer()
        await buffer.fill(reader)
        assert buffer.full
        assert len(buffer.data) <= (1 << 20) + 65_536

    asyncio.run(scenario())
