"""More hosts than most tests have: so many that all parties share a port, and that limits grow."""

import asyncio
from pathlib import Path

import pytest

from e3.interfaces import MOST_PARTY_PORTS, PARTY_PORT
from e3.overlays.libp2p import Libp2p
from e3.overlays.plain import Plain
from e3.session.plan import plan
from e3.session.programs import load
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict
from tests.labs import running
from tests.overlays import Mesh
from tests.stack import ROOT

HOSTS = MOST_PARTY_PORTS + 2
NAMES = [f"ams3-{i}" for i in range(HOSTS)]
DEADLINE_SECONDS = 300.0
PROGRAM = ROOT / "demos" / "helloworld.py"


def test_every_pair_of_many_hosts_is_proven(tmp_path: Path) -> None:
    with running(tmp_path / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Plain())
        mesh.add(*NAMES)
        mesh.connect(*NAMES)
        assert len(mesh.verify_pairs()) == HOSTS * (HOSTS - 1)


@pytest.mark.long
def test_more_hosts_than_ports_are_joined_and_compute(tmp_path: Path) -> None:
    with running(tmp_path / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Libp2p())
        mesh.add(*NAMES)
        network = mesh.connect(*NAMES)
        assert len(mesh.verify_pairs()) == HOSTS * (HOSTS - 1)
        made = plan(
            hosts=mesh.hosts,
            addresses=network.addresses,
            program=load(PROGRAM, ("--no-prss", "--no-numpy")),
            parties=HOSTS,
        )
        assert {seat.endpoint.port for seat in made.seats} == {PARTY_PORT}
        spec = SessionSpec(
            plan=made,
            hosts=mesh.hosts,
            overlay="libp2p",
            sessions=tmp_path / "sessions",
            deadline_seconds=DEADLINE_SECONDS,
            address_trust=mesh.overlay.needs.address_trust,
        )
        result = asyncio.run(run_session(spec))
        assert result.verdict is Verdict.COMPLETED, result.reason
        said = f"from {HOSTS} parties, whose secret numbers add up to {HOSTS * (HOSTS + 1) // 2}!"
        assert all(said in party.output for party in result.parties)
