"""The onion proxy: keys, and how long it tries."""

import asyncio
import base64
import contextlib
from pathlib import Path

from e3.remote.onion_proxy import expanded, make_keys, onion_address, reach

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
    """Stands for Tor: refuses some attempts, then answers as the far end itself."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.forgot = 0

    async def forget(self) -> None:
        self.forgot += 1
        raise ConnectionRefusedError  # Tor itself may not run

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.readexactly(3)
            head = await reader.readexactly(5)
            assert await reader.readexactly(head[4]) == b"x.onion"
            await reader.readexactly(2)
            self.refusals -= 1
            if self.refusals >= 0:
                writer.write(b"\5\0\5\4\0\1" + bytes(6))
                return
            assert await reader.readexactly(2) == bytes(2)
            writer.write(b"\5\0\5\0\0\1" + bytes(6) + b"\0")
            await writer.drain()


def test_a_peer_is_asked_until_it_answers_and_tor_is_told_to_forget(tmp_path: Path) -> None:
    async def scenario() -> None:
        tor = Tor(refusals=2)
        async with await asyncio.start_unix_server(tor, tmp_path / "socks"):
            await reach(str(tmp_path / "socks"), "x", forget=tor.forget, patience_seconds=0.2)
        assert (tor.refusals, tor.forgot) == (-1, 1)

    asyncio.run(asyncio.wait_for(scenario(), 10))
