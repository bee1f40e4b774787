"""More hosts than most tests have: so many that all parties share a port, and that limits grow."""

from pathlib import Path

from e3.interfaces import MOST_PARTY_PORTS
from e3.overlays.plain import Plain
from tests.labs import running
from tests.overlays import Mesh

HOSTS = MOST_PARTY_PORTS + 2
NAMES = [f"ams3-{i}" for i in range(HOSTS)]


def test_every_pair_of_many_hosts_is_proven(tmp_path: Path) -> None:
    with running(tmp_path / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Plain())
        mesh.add(*NAMES)
        mesh.connect(*NAMES)
        assert len(mesh.verify_pairs()) == HOSTS * (HOSTS - 1)
