"""iroh's nodes: whom they speak to, whom relays serve, and what they do with nonsense."""

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from e3 import contact
from e3.impairments import Impairment
from e3.interfaces import PARTY_PORT, File, Host
from e3.lab.client import Lab
from e3.lab.vantage import vantages
from e3.overlays.iroh import FORWARDER, Iroh
from e3.remote.tasks import gather_or_cancel
from tests.labs import running
from tests.overlays import Mesh, ask, skip_without_programs
from tests.stack import ROOT, until

CAPTURE = ROOT / "e3/remote/capture.py"
LEAVING = "all>"
OF_THE_KERNEL = re.compile(r"fe80::|ff02::(1|2|16|1:ff[0-9a-f:]+)$")
"""IPv6's neighbours, routers and groups (RFC 4861, RFC 3810): what an interface sends by itself."""

SETTINGS = f"{FORWARDER.configuration}/settings.json"
STREAM = """
import socket, sys, time
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
longest, end, number = 0.0, time.monotonic() + float(sys.argv[3]), 0
print(flush=True)
while time.monotonic() < end:
    begun = time.monotonic()
    sent = number.to_bytes(8)
    peer.sendall(sent)
    back = b""
    while len(back) < 8:
        part = peer.recv(8 - len(back))
        assert part, "the stream has ended"
        back += part
    assert back == sent
    number, longest = number + 1, max(longest, time.monotonic() - begun)
    time.sleep(0.02)
print(longest, flush=True)
"""
"""Counts by echoes for so many seconds; prints how long the longest break was."""

ECHO = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print(flush=True)
peer = server.accept()[0]
while data := peer.recv(64):
    peer.sendall(data)
"""
STREAM_SECONDS = 25.0

SEND = """
import hashlib, os, socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
digest, part = hashlib.sha256(), os.urandom(1 << 20)
for number in range(int(sys.argv[3])):
    digest.update(part)
    peer.sendall(part)
peer.shutdown(socket.SHUT_WR)
assert peer.recv(64) == digest.hexdigest().encode()
"""
TAKE = """
import hashlib, socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print(flush=True)
peer, digest = server.accept()[0], hashlib.sha256()
while data := peer.recv(1 << 20):
    digest.update(data)
peer.sendall(digest.hexdigest().encode())
"""
FLOOD_MB = 300


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    skip_without_programs("iroh", Iroh())
    with running(tmp_path_factory.mktemp("lab"), {("a", "b"): 4.0}, ["a", "b"]) as lab:
        yield lab


@pytest.fixture
def mesh(lab: Lab) -> Iterator[Mesh]:
    """A public host that relays, another one, and three behind NATs; not joined yet."""
    kinds = {"a-1": "port-restricted", "b-0": "port-restricted", "b-1": "symmetric"}
    names = ["a-0", *kinds]
    handles = lab.add_hosts([(name, name[0]) for name in names], kinds)
    yield Mesh(lab, Iroh(), [handle.host() for handle in handles])
    lab.remove_hosts(names)


def joined(mesh: Mesh) -> dict[tuple[str, str], str]:
    """Join all hosts; return each path once it is final."""
    mesh.connect(*(host.name for host in mesh.hosts))
    began = time.monotonic()
    paths = asyncio.run(
        contact.wait_for_direct(
            mesh.overlay, mesh.hosts, mesh.joined, mesh.verify_pairs(), since=began
        )
    )
    return {(path.source, path.target): path.path_class for path in paths}


def told(host: Host) -> Mapping[str, Any]:
    """Return what the node of a host answers."""
    said = ask(host, f"{host.tools}/e3-iroh", "paths", FORWARDER.configuration)
    return dict(json.loads(said))


def logged(host: Host) -> str:
    return ask(host, "cat", "/var/log/iroh/current")


def refused(host: Host, times: int) -> bool:
    return logged(host).count("the settings stay as they were") == times


def test_nodes_speak_to_relays_peers_and_their_addresses_alone(mesh: Mesh) -> None:
    seen = asyncio.run(_sent_while(mesh))
    outside = vantages(mesh.lab).outside
    known = {a for host in mesh.hosts for a in (host.underlay, host.underlay6) if a}
    known |= {address for host in mesh.hosts for address in outside[host.name]}
    for host in mesh.hosts:
        strangers = {to for to in seen[host.name] if to not in known}
        assert not {to for to in strangers if not OF_THE_KERNEL.match(to)}, host.name
        assert mesh.host("a-0").underlay in seen[host.name] or host.name == "a-0"


async def _sent_while(mesh: Mesh) -> Mapping[str, set[str]]:
    """Join all hosts; return the targets of the packets that each has sent by then."""
    async with AsyncExitStack() as stack:
        posts = []
        for host in mesh.hosts:
            await host.access.put(
                [File(path="/run/e3/capture.py", content=CAPTURE.read_bytes())], timeout_seconds=30
            )
            argv = [host.python, "-I", "-S", "/run/e3/capture.py"]
            post = await stack.enter_async_context(host.access.attach(argv))
            post.stdin.write(
                json.dumps({"needles": {}, "views": {LEAVING: ["*"]}}).encode() + b"\n"
            )
            assert await asyncio.wait_for(post.stdout.readline(), 30) == b"\n"
            posts.append(post)
        paths = await asyncio.to_thread(joined, mesh)
        assert paths["a-1", "b-0"] == "direct"
        assert paths["b-0", "b-1"] == "relayed"

        async def targets(post: Any) -> set[str]:  # noqa: ANN401 -- a process
            post.stdin.write(b"take\n")
            answer = json.loads(await asyncio.wait_for(post.stdout.readline(), 30))[LEAVING]
            assert answer["unseen"] == 0
            return {target for _, target, _ in answer["pairs"]}

        found = await gather_or_cancel(map(targets, posts))
    return dict(zip((host.name for host in mesh.hosts), found, strict=True))


def test_a_relay_serves_members_alone(mesh: Mesh) -> None:
    """Two strangers who know all that is public of a relay are not joined by it."""
    joined(mesh)
    settings = json.loads(ask(mesh.host("b-0"), "cat", SETTINGS))
    kinds = {"a-8": "symmetric", "b-8": "symmetric"}
    handles = mesh.lab.add_hosts([(name, name[0]) for name in kinds], kinds)
    pair = [handle.host() for handle in handles]
    assert asyncio.run(_try_relay(pair, settings)) == ["none", "none"]
    mesh.hosts += pair
    # the same two as members are
    assert joined(mesh)["a-8", "b-8"] == "relayed"
    mesh.lab.remove_hosts([*kinds])


async def _try_relay(pair: Sequence[Host], settings: Mapping[str, Any]) -> list[str]:
    """Run nodes by hand on two hosts that know each other and a relay; return their paths."""
    program, folder, seconds = f"{pair[0].tools}/e3-iroh", "/run/by-hand", 30
    ids = []
    for host in pair:
        done = await host.access.run([program, "key", f"{folder}/key"], timeout_seconds=seconds)
        ids.append(done.stdout.decode().strip())
    async with AsyncExitStack() as stack:
        for i, host in enumerate(pair):
            other = {"name": "other", "id": ids[1 - i], "address": "127.79.9.9"}
            own = {
                **settings,
                "address": "127.79.9.8",
                "peers": [{**other, "addresses": [], "dials": i == 0}],
            }
            text = json.dumps(own).encode()
            await host.access.put(
                [File(path=f"{folder}/settings.json", content=text)], timeout_seconds=seconds
            )
            await stack.enter_async_context(host.access.attach([program, "serve", folder, folder]))
        await asyncio.sleep(4)  # members are joined within one: test_a_relay's second half
        found = []
        for host in pair:
            done = await host.access.run([program, "paths", folder], timeout_seconds=seconds)
            found.append(json.loads(done.stdout)["other"]["path"])
    return found


def test_nonsense_changes_nothing_and_is_said(mesh: Mesh) -> None:
    mesh.connect("a-0", "a-1")
    mesh.verify_pairs()
    host = mesh.host("a-1")
    before = told(host)
    for number, text in enumerate(("{", '{"address": "127.79.0.2"}', "[" * 100_000), 1):
        good = ask(host, "cat", SETTINGS)
        asyncio.run(
            host.access.put([File(path=SETTINGS, content=text.encode())], timeout_seconds=30)
        )
        ask(host, "pkill", "-HUP", "e3-iroh")
        until(partial(refused, host, number), "it says so")
        asyncio.run(
            host.access.put([File(path=SETTINGS, content=good.encode())], timeout_seconds=30)
        )
    assert told(host) == before
    assert mesh.verify_pairs()


@pytest.mark.long
def test_a_flood_over_a_line_that_loses_packets_arrives_whole(lab: Lab, mesh: Mesh) -> None:
    """QUIC here gives up a connection whose streams have too many gaps."""
    mesh.connect("a-0", "b-0")
    mesh.verify_pairs()
    asyncio.run(_flood(mesh, FLOOD_MB))
    lab.impair({("a", "b"): Impairment(loss=0.02)})
    try:
        asyncio.run(_flood(mesh, FLOOD_MB // 20))
    finally:
        lab.impair({})
    assert "gaps" not in logged(mesh.host("a-0"))


async def _flood(mesh: Mesh, megabytes: int) -> None:
    source, target = mesh.host("a-0"), mesh.host("b-0")
    place = [mesh.joined.addresses["b-0"], str(PARTY_PORT)]
    async with target.access.attach([target.python, "-c", TAKE, *place]) as server:
        assert await asyncio.wait_for(server.stdout.readline(), 15) == b"\n"
        argv = [source.python, "-c", SEND, *place, str(megabytes)]
        done = await source.access.run(argv, timeout_seconds=120)
        assert done.exit == 0, done.complaint


@pytest.mark.long
def test_a_stream_outlives_another_public_address_and_the_change_is_noted(mesh: Mesh) -> None:
    ends = {"a-1": "b-0", "b-0": "a-1"}
    assert joined(mesh)["a-1", "b-0"] == "direct"
    before = told(mesh.host("a-1"))["b-0"]
    noted = {end: changes(mesh.host(end), peer) for end, peer in ends.items()}
    seconds = asyncio.run(_stream_through_move(mesh))
    assert seconds < STREAM_SECONDS
    assert told(mesh.host("a-1"))["b-0"]["at"] != before["at"]
    assert {end: changes(mesh.host(end), peer) for end, peer in ends.items()} != noted


def changes(host: Host, peer: str) -> int:
    """Return how often the log has another path of a connection with a peer."""
    return len(re.findall(rf"path to {peer}: \S+ -> \S+", logged(host)))


async def _stream_through_move(mesh: Mesh) -> float:
    """Move b-0's router to another address while a-1 has a stream to it; return the break."""
    source, target = mesh.host("a-1"), mesh.host("b-0")
    place = [mesh.joined.addresses["b-0"], str(PARTY_PORT)]
    async with (
        target.access.attach([target.python, "-c", ECHO, *place]) as server,
        source.access.attach([source.python, "-c", STREAM, *place, str(STREAM_SECONDS)]) as client,
    ):
        assert await asyncio.wait_for(server.stdout.readline(), 15) == b"\n"
        assert await asyncio.wait_for(client.stdout.readline(), 15) == b"\n"
        await asyncio.to_thread(mesh.lab.renumber_host, "b-0")
        return float(await asyncio.wait_for(client.stdout.readline(), 2 * STREAM_SECONDS))
