"""MPyC's own demos run unchanged under all the containment.

They are in MPyC's repository alone: no sdist on PyPI has had them (0.3 to 0.11), nor has Debian a
package. So this runs with the folder ``demos`` of a checkout, named by E3_MPYC_DEMOS;
`test_containment` has the programs that come with the sdist.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.overlays.nebula import Nebula
from e3.session.verdicts import Verdict
from tests.faults.stage import Stage
from tests.labs import running
from tests.overlays import Mesh

NAMES = ("ams3-0", "ams3-1", "ams3-2")
FOLDER = os.environ.get("E3_MPYC_DEMOS", "")
RUNS = (
    ("helloworld", ()),
    ("oneliners", ()),
    ("unanimous", ()),
    ("elgamal", ("-b", "2")),
    ("sort", ("6",)),
    ("lpsolver", ("-i", "1")),
    ("np_lpsolver", ("-i", "1")),
    ("onewayhashchains", ("-k", "2")),
    ("np_aes", ()),
    ("secretsanta", ()),
)
"""Some with options of their own, some with arrays of NumPy."""

pytestmark = pytest.mark.skipif(
    not FOLDER,
    reason="MPyC's demos are in no package; set E3_MPYC_DEMOS to the folder demos of a checkout",
)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running(tmp_path_factory.mktemp("lab"), {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Nebula())
        mesh.add(*NAMES)
        mesh.connect(*NAMES)
        mesh.verify_pairs()
        yield mesh


@pytest.mark.parametrize(("name", "args"), RUNS, ids=[name for name, _ in RUNS])
def test_a_demo_of_mpyc(mesh: Mesh, tmp_path: Path, name: str, args: tuple[str, ...]) -> None:
    stage = Stage(tmp_path, mesh.lab, list(mesh.hosts), mesh.joined.addresses, "nebula")
    program = tmp_path / name
    # its data are read below its own folder; the keys of MPyC's demo authority stay away
    shutil.copytree(FOLDER, program, ignore=shutil.ignore_patterns(".*", "*.ipynb", "cnn", "bnn"))
    shutil.move(program / f"{name}.py", program / "main.py")
    result = stage.run(program, *args)
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert all(party.output for party in result.parties)
