"""Two ends of a tunnel on this machine, over the loopback interface."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from e3 import tunnel
from e3.errors import OverlayError
from e3.lab.client import TOOLS
from e3.tunnel import Opened, Tunnel
from tests.tunnels import all_up, asked, described, introduce

PROGRAM = str(TOOLS / tunnel.PROGRAM)
LINES = 200

pytestmark = pytest.mark.skipif(
    shutil.which(PROGRAM) is None, reason="e3-tunnel is not built: scripts/setup --all"
)


@asynccontextmanager
async def two(mode: str = "userspace") -> AsyncIterator[tuple[list[Tunnel], list[Opened]]]:
    """Two parties between which data passes."""
    async with tunnel.local(PROGRAM) as one, tunnel.local(PROGRAM) as other:
        ends = enumerate((one, other))
        opened = [await each.open(asked(i, mode=mode, loopback=True)) for i, each in ends]
        await introduce((one, other), opened)
        await all_up((one, other))
        yield [one, other], opened


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send all back in capitals, after the end of what comes."""
    writer.write((await reader.read()).upper())
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def exchange(local: str, said: bytes) -> bytes:
    host, port = local.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    writer.write_eof()
    heard = await reader.read()
    writer.close()
    await writer.wait_closed()
    return heard


MODES = pytest.mark.parametrize("mode", ["userspace", "tls"])


@MODES
def test_what_is_sent_into_one_end_comes_out_of_the_other(mode: str) -> None:
    async def run() -> None:
        listening = await asyncio.start_server(answers, "127.0.0.1", 0)
        async with two(mode) as ([one, other], _), listening as server:
            host, port = server.sockets[0].getsockname()
            await other.serve(11_365, f"{host}:{port}")
            local = await one.dial(1, 11_365)
            said = b"".join(b"line %d\n" % i for i in range(LINES))
            assert await exchange(local, said) == said.upper()

    asyncio.run(run())


@MODES
def test_who_dials_is_held_until_the_other_end_listens(mode: str) -> None:
    async def run() -> None:
        async with two(mode) as ([one, other], _):
            local = await one.dial(1, 11_365)
            early = asyncio.ensure_future(exchange(local, b"early"))
            # the peer forwards, but the program that it forwards to is not there yet
            with socket.create_server(("127.0.0.1", 0)) as free:
                host, port = free.getsockname()
            await other.serve(11_365, f"{host}:{port}")
            await asyncio.wait([early], timeout=0.3)
            assert not early.done()
            async with await asyncio.start_server(answers, host, port):
                assert await asyncio.wait_for(early, 20) == b"EARLY"

    asyncio.run(run())


@MODES
def test_a_peer_is_known_by_the_address_that_it_calls_from(mode: str) -> None:
    async def who(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(writer.get_extra_info("peername")[0].encode())
        writer.close()

    async def run() -> None:
        listening = await asyncio.start_server(who, "127.0.0.1", 0)
        async with two(mode) as ([one, other], _), listening as server:
            host, port = server.sockets[0].getsockname()
            await other.serve(11_365, f"{host}:{port}", {0: "127.77.0.9"})
            assert await exchange(await one.dial(1, 11_365), b"") == b"127.77.0.9"
            with pytest.raises(OverlayError, match="pid 7 is no peer"):
                await other.serve(11_366, f"{host}:{port}", {7: "127.77.0.9"})
            with pytest.raises(OverlayError, match="not a loopback address"):
                await other.serve(11_366, f"{host}:{port}", {0: "198.18.0.9"})

    asyncio.run(run())


@pytest.mark.parametrize(("mode", "kind"), [("userspace", "host"), ("tls", "tcp")])
def test_the_report_tells_path_round_trip_and_age_of_the_handshake(mode: str, kind: str) -> None:
    async def run() -> None:
        async with two(mode) as ([one, _], _):
            report = await one.report()
            [peer] = report.peers
            assert (report.mode, peer.pid, peer.paths[0].kind) == (mode, 1, kind)
            assert peer.paths[0].rtt_ms < 1000
            assert peer.handshake_age_seconds is not None
            assert peer.handshake_age_seconds < 60

    asyncio.run(run())


def test_a_peer_with_another_secret_gets_no_path() -> None:
    async def run() -> None:
        async with tunnel.local(PROGRAM) as one, tunnel.local(PROGRAM) as other:
            tunnels = (one, other)
            opened = [await each.open(asked(i, loopback=True)) for i, each in enumerate(tunnels)]
            for each in tunnels:
                await each.until(lambda it: it.candidates is not None)
            await one.set_peer(described(1, opened[1], "A" * 43 + "=", other))
            await other.set_peer(described(0, opened[0], "B" * 42 + "A=", one))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await one.until(lambda it: bool(it.paths))
            assert (await other.report()).peers[0].paths == ()

    asyncio.run(run())


def test_it_ends_with_its_input_and_leaves_no_process() -> None:
    process = subprocess.Popen([PROGRAM, "party"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    order = {"do": "open", "id": 1, "pid": 0, "mode": "userspace", "address": "10.77.0.1/24"}
    process.stdin.write(json.dumps(order).encode() + b"\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["event"] == "opened"
    process.stdin.close()
    assert process.wait(20) == 0
    process.stdout.close()


def children() -> dict[str, int]:
    """Return the process group of each child of this process, by its command line."""
    command = ["ps", "--ppid", str(os.getpid()), "-o", "pgid=,args="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = (line.split(maxsplit=1) for line in listed.stdout.splitlines())
    return {words: int(group) for group, words in rows}


def test_ctrl_c_in_a_terminal_does_not_reach_it() -> None:
    async def run() -> None:
        async with tunnel.local(PROGRAM) as one:
            await one.open(asked(0))
            assert children()[f"{PROGRAM} party"] != os.getpgid(0)

    asyncio.run(run())


NOBODY = (1 << 22) + 1
"""Above all processes of Linux (`PID_MAX_LIMIT`)."""

OPEN = {"do": "open", "pid": 0, "mode": "userspace", "address": "10.77.0.1/24"}


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"do": "dig"}, 'do "dig" comes before open'),
        ({**OPEN, "pid": 5000}, "pid 5000 is not from 0 to 1023"),
        ({**OPEN, "mode": "magic"}, 'mode "magic" is none of userspace, tun, namespace'),
        ({**OPEN, "address": "fd00::1/64"}, "address fd00::1/64 is not of IPv4"),
        ({**OPEN, "mtu": 90}, "mtu 90 is not from 576 to 9000"),
        ({**OPEN, "more": 1}, 'unknown field "more"'),
        ({**OPEN, "stun": ["nowhere"]}, "not an ip:port"),
        (
            {**OPEN, "mode": "namespace", "namespace": NOBODY},
            f"no TUN device in the namespace: nsenter: cannot open /proc/{NOBODY}/",
        ),
    ],
)
def test_a_wrong_command_is_refused_and_the_next_one_obeyed(
    order: dict[str, object], message: str
) -> None:
    lines = [{**order, "id": 7}, {**OPEN, "id": 8}]
    done = subprocess.run(
        [PROGRAM, "party"],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    refused, opened = (json.loads(line) for line in done.stdout.splitlines()[:2])
    assert (refused["event"], refused["id"]) == ("error", 7)
    assert message in refused["message"]
    assert (opened["event"], opened["id"]) == ("opened", 8)


@pytest.mark.parametrize("line", [b"x" * 70_000, b"{", b"[]", b'{"do": 3}', b"\xff\xfe"])
def test_a_line_that_is_no_command_harms_nobody(line: bytes) -> None:
    done = subprocess.run(
        [PROGRAM, "party"], input=line + b"\n", capture_output=True, timeout=20, check=False
    )
    assert done.returncode in {0, 1}
    assert b"panic" not in done.stderr
    assert b"error" in done.stdout or b"longer than 65536 bytes" in done.stderr


def test_the_program_may_say_what_it_does_not_know() -> None:
    async def run() -> None:
        async with tunnel.local("/bin/echo") as one:
            with pytest.raises(OverlayError, match="e3-tunnel: party"):
                await one.open(asked(0))

    asyncio.run(run())
