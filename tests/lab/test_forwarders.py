"""Overlays that forward connections: they accept a connection before the peer's program does."""

import asyncio
from collections.abc import Iterator

import pytest

from e3.interfaces import PARTY_PORT, Host, Overlay
from e3.lab.client import Lab
from e3.overlays.iroh import Iroh
from e3.overlays.libp2p import Libp2p
from tests.labs import running
from tests.overlays import Mesh, skip_without_programs

DIAL = (
    "import socket,sys; a = (sys.argv[1], int(sys.argv[2]));"
    "c = socket.create_connection(a, 10); c.sendall(b'early'); print(flush=True);"
    "print(c.recv(9).decode())"
)
ANSWER = (
    "import socket,sys; s = socket.create_server((sys.argv[1], int(sys.argv[2])));"
    "s.settimeout(15);"
    "c = s.accept()[0]; c.sendall(b'late' if c.recv(9) == b'early' else b'wrong')"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("lab"), {("a", "b"): 4.0}, ["a", "b"]) as lab:
        yield lab


@pytest.mark.parametrize("overlay", [Iroh(), Libp2p()], ids=["iroh", "libp2p"])
def test_who_calls_before_its_peer_listens_is_answered(lab: Lab, overlay: Overlay) -> None:
    """Else a party that starts a moment later than its peers would be taken for another program."""
    skip_without_programs("iroh", overlay)
    one, other = (host.host() for host in lab.add_hosts([("a-0", "a"), ("b-0", "b")], {}))
    mesh = Mesh(lab, overlay, [one, other])
    network = mesh.connect("a-0", "b-0")
    mesh.verify_pairs()
    place = (network.addresses["b-0"], str(PARTY_PORT))

    async def called() -> bytes:
        async with one.access.attach([one.python, "-c", DIAL, *place]) as caller:
            await asyncio.wait_for(caller.stdout.readline(), 15)
            await asyncio.sleep(0.5)  # the forwarder has tried to reach the program by then
            await answered(other, place)
            return await asyncio.wait_for(caller.stdout.readline(), 15)

    assert asyncio.run(called()) == b"late\n"
    lab.remove_hosts(["a-0", "b-0"])


CALLS = 40
CALL_OFTEN = (
    "import socket,sys; a = (sys.argv[1], int(sys.argv[2]));"
    f"calls = [socket.create_connection(a, 10) for _ in range({CALLS})];"
    "[c.sendall(b'early') for c in calls]; print(flush=True);"
    "print(sum(c.recv(9) == b'late' for c in calls))"
)
ANSWER_ALL = (
    "import socket,sys; s = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=100);"
    f"s.settimeout(15); calls = [s.accept()[0] for _ in range({CALLS})];"
    "[c.sendall(b'late') for c in calls]; [c.recv(9) for c in calls]"
)


@pytest.mark.parametrize("overlay", [Iroh(), Libp2p()], ids=["iroh", "libp2p"])
def test_many_who_call_before_their_peer_listens_wait_for_one_another(
    lab: Lab, overlay: Overlay
) -> None:
    """Each trying on its own, the peers of a hundred parties kept those from starting."""
    skip_without_programs("iroh", overlay)
    one, other = (host.host() for host in lab.add_hosts([("a-0", "a"), ("b-0", "b")], {}))
    mesh = Mesh(lab, overlay, [one, other])
    network = mesh.connect("a-0", "b-0")
    mesh.verify_pairs()
    place = (network.addresses["b-0"], str(PARTY_PORT))

    async def called() -> tuple[int, bytes]:
        before = await refusals(other)
        async with one.access.attach([one.python, "-c", CALL_OFTEN, *place]) as callers:
            await asyncio.wait_for(callers.stdout.readline(), 15)
            await asyncio.sleep(2)
            refused = await refusals(other) - before
            done = await other.access.run(
                [other.python, "-c", ANSWER_ALL, *place], timeout_seconds=30
            )
            assert done.exit == 0, done.complaint
            return refused, await asyncio.wait_for(callers.stdout.readline(), 15)

    refused, answers = asyncio.run(called())
    assert 2 < refused < 200  # a single one tries fifty times a second
    assert int(answers) == CALLS
    lab.remove_hosts(["a-0", "b-0"])


async def refusals(host: Host) -> int:
    """Return how many connections a host has refused so far."""
    done = await host.access.run(["cat", "/proc/net/snmp"], timeout_seconds=30)
    names, values = (line.split() for line in done.stdout.decode().splitlines() if "Tcp:" in line)
    return int(values[names.index("OutRsts")])


async def answered(host: Host, place: tuple[str, str]) -> None:
    done = await host.access.run([host.python, "-c", ANSWER, *place], timeout_seconds=30)
    assert done.exit == 0, done.complaint
