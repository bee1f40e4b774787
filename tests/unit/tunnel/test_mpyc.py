"""MPyC runs unchanged through tunnels: each party knows its peers by local ports."""

import asyncio
import shutil
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from e3 import tunnel
from e3.lab.client import TOOLS
from tests.tunnels import SECONDS, all_up, asked, introduce

PROGRAM = str(TOOLS / tunnel.PROGRAM)
DEMO = Path(__file__).parents[3] / "demos" / "secret_santa.py"
PARTIES = 3
PORT = 11_365

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(PROGRAM) is None, reason="e3-tunnel is not built"),
]


def free_ports() -> list[int]:
    """Return a free port for each party, at which its MPyC will listen."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(PARTIES)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


async def party(pid: int, peers: list[str]) -> str:
    """Return the result that a party prints; it knows all at the places ``peers``."""
    places = [word for place in peers for word in ("-P", place)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(DEMO),
        *places,
        "-I",
        str(pid),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(2 * SECONDS):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    return said.decode().splitlines()[-1]


def test_three_parties_compute_through_tunnels() -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            ends = [await stack.enter_async_context(tunnel.local(PROGRAM)) for _ in range(PARTIES)]
            opened = [await end.open(asked(i, loopback=True)) for i, end in enumerate(ends)]
            await introduce(ends, opened)
            await all_up(ends)
            ports = free_ports()
            known: list[list[str]] = []
            for pid, end in enumerate(ends):
                await end.serve(PORT, f"127.0.0.1:{ports[pid]}")
                known.append(
                    [
                        f"127.0.0.1:{ports[pid]}" if peer == pid else await end.dial(peer, PORT)
                        for peer in range(PARTIES)
                    ]
                )
            said = await asyncio.gather(*(party(pid, peers) for pid, peers in enumerate(known)))
            assert said[0].startswith("santa: ")
            assert said == [said[0]] * PARTIES
            reports = [await end.report() for end in ends]
            assert all(peer.paths[0].sent_bytes > 1000 for one in reports for peer in one.peers)

    asyncio.run(run())
