"""What only libp2p promises: how keys are made, and hosts that find each other by peer ID alone."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.discovery import one_network
from e3.evaluation.diagnosis import diagnose
from e3.interfaces import Host
from e3.lab.client import Lab
from e3.overlays.forwarder import Memory
from e3.overlays.libp2p import FORWARDER, Libp2p, PeerId
from e3.overlays.unit import Members, Unit
from tests.labs import running
from tests.overlays import Mesh, ask

REGIONS = ("ams3",)
RTT_MS = {("ams3", "ams3"): 0.0}
NAMES = ("ams3-0", "ams3-1")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("libp2p") / "lab", RTT_MS, REGIONS) as lab:
        yield lab


@dataclass(frozen=True, kw_only=True)
class Classical(Libp2p):
    """One host does not offer what withstands quantum computers."""

    def plan(self, host: Host, members: Members[PeerId, Memory]) -> Sequence[Unit]:
        units = super().plan(host, members)
        if host.name == NAMES[0]:
            units = [replace(unit, environment={"GODEBUG": "tlsmlkem=0"}) for unit in units]
        return units


@pytest.mark.parametrize(
    ("overlay", "exchange"),
    [
        (Libp2p(), "X25519MLKEM768"),
        (Libp2p(transport="both"), "X25519MLKEM768"),
        (Libp2p(security="noise"), "X25519"),
        (Classical(), "X25519"),
    ],
    ids=["tls", "quic-or-tls", "noise", "one-without"],
)
def test_a_connection_tells_how_its_keys_were_made(
    lab: Lab, overlay: Libp2p, exchange: str
) -> None:
    mesh = Mesh(lab, overlay)
    mesh.add(*NAMES)
    network = mesh.connect(*NAMES)
    assert {path.exchange for path in mesh.verify_pairs()} == {exchange}
    found = asyncio.run(diagnose(overlay, mesh.hosts, network))
    assert {one.exchange for one in found} == {exchange}
    mesh.disconnect(*NAMES)


def test_a_relayed_connection_tells_it_too(tmp_path: Path) -> None:
    with running(tmp_path / "lab", RTT_MS, REGIONS) as lab:
        mesh = Mesh(lab, Libp2p())
        nats = {"ams3-1": "symmetric", "ams3-2": "symmetric"}
        rows = [(f"ams3-{i}", "ams3") for i in range(3)]
        mesh.hosts = [handle.host() for handle in lab.add_hosts(rows, nats)]
        mesh.connect(*(host.name for host in mesh.hosts))
        paths = {(path.source, path.target): path for path in mesh.verify_pairs()}
        relayed = paths["ams3-1", "ams3-2"]
        assert (relayed.path_class, relayed.by) == ("relayed", "ams3-0")
        assert relayed.exchange == "X25519MLKEM768"


def told(mesh: Mesh, name: str) -> dict[str, list[str]]:
    """Return the addresses of each peer that a host was told."""
    settings = json.loads(ask(mesh.host(name), "cat", f"{FORWARDER.configuration}/settings.json"))
    return {peer["name"]: peer["addresses"] for peer in settings["peers"]}


def test_members_find_each_other_by_a_table_that_they_keep(tmp_path: Path) -> None:
    with running(tmp_path / "lab", RTT_MS, REGIONS) as lab:
        mesh = Mesh(lab, Libp2p(discovery="dht", relay_hosts=1))
        names = [f"ams3-{i}" for i in range(5)]
        rows = [(name, "ams3") for name in names]
        nats = {"ams3-4": "port-restricted"}
        mesh.hosts = [handle.host() for handle in lab.add_hosts(rows, nats)]
        mesh.connect(*names)
        paths = {(path.source, path.target): path for path in mesh.verify_pairs()}
        assert len(paths) == 20
        assert {path.path_class for path in paths.values()} == {"direct"}
        for name in names[1:]:
            assert [peer for peer, at in told(mesh, name).items() if at] == ["ams3-0"]


LISTEN = """
import socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
    heard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    heard.bind(("224.0.0.251", 5353))
    group = struct.pack("4s4s", socket.inet_aton("224.0.0.251"), socket.inet_aton(sys.argv[1]))
    heard.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    print(flush=True)
    while True:
        print(heard.recv(9000), flush=True)
"""
"""Prints what is sent by multicast DNS (RFC 6762) on the network of an address."""


def test_neighbours_find_each_other_and_whoever_listens_learns_it(tmp_path: Path) -> None:
    with running(tmp_path / "lab", RTT_MS, REGIONS) as lab:
        mesh = Mesh(lab, Libp2p(discovery="mdns"))
        names = [f"ams3-{i}" for i in range(3)]
        mesh.add(*names, "ams3-9")
        one_network(lab, "ams3")
        asyncio.run(overheard(mesh, names))


async def overheard(mesh: Mesh, names: Sequence[str]) -> None:
    outsider = mesh.host("ams3-9")
    argv = [outsider.python, "-I", "-c", LISTEN, outsider.underlay]
    async with outsider.access.attach(argv) as listening:
        assert await listening.stdout.readline() == b"\n"
        await asyncio.to_thread(mesh.connect, *names)
        assert len(await asyncio.to_thread(mesh.verify_pairs)) == 6
        places = {f"/ip4/{mesh.host(name).underlay}/tcp/4001/p2p/" for name in names}
        said = ""
        async with asyncio.timeout(20):
            while not all(place in said for place in places):
                said += (await listening.stdout.readline()).decode()
    for name in names:
        known = await asyncio.to_thread(told, mesh, name)
        assert not any(known.values()), "no host was told an address"
