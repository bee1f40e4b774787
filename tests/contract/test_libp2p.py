"""What only libp2p promises: its connections tell how their keys were made."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from e3.evaluation.diagnosis import diagnose
from e3.interfaces import Host
from e3.lab.client import Lab
from e3.overlays.libp2p import Libp2p, Memory, PeerId
from e3.overlays.unit import Members, Unit
from tests.labs import running
from tests.overlays import Mesh

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
