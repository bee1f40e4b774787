"""MPyC's own demos, notebooks and tests run unchanged, under all the containment.

They are in MPyC's repository alone: no sdist on PyPI has had them (0.3 to 0.11), nor has Debian a
package. So this runs with the folder ``demos`` of a checkout, named by E3_MPYC_DEMOS, and fetches
nothing; `test_programs_of_people` has programs that stand in for them, and `test_containment` the
tests that come with the sdist.
"""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from e3.overlays.nebula import Nebula
from e3.session.verdicts import Verdict
from tests.faults.stage import Stage
from tests.labs import running
from tests.overlays import Mesh

NAMES = ("ams3-0", "ams3-1", "ams3-2")
FOLDER = os.environ.get("E3_MPYC_DEMOS", "")
SECONDS = 3000.0

ARGS = {
    "aes": "-1",
    "bnnmnist": "-d0",
    "cnnmnist": "1.5",
    "elgamal": "-b2 -o3",
    "kmsurvival": "-i2 --plot-curves",
    "multilateration": "-i 1",
    "np_aes": "-1",
    "np_bnnmnist": "-d0",
    "np_cnnmnist": "1.5",
    "np_kmsurvival": "-i2",
    "np_onewayhashchains": "-k2",
    "onewayhashchains": "-k2",
    "ridgeregression": "-i1",
    "sort": "6",
}
"""The arguments with which a demo is quick, as those of MPyC's own run-all.sh."""

NEEDS = {
    "kmsurvival": ("pandas", "matplotlib", "scipy", "lifelines"),
    "np_kmsurvival": ("pandas", "matplotlib", "scipy", "lifelines"),
    "multilateration": ("pandas", "matplotlib", "scipy"),
    "ridgeregression": ("sklearn",),
}
"""Packages besides MPyC's own; without them a demo is skipped."""

ALONE = {"PrefixOrExplained", "bnnmnist", "cnnmnist"}
"""What takes minutes among several parties."""

NOTEBOOKS = {
    "PrefixOrExplained": 1,
    "SecretSantaExplained": 3,
    "SecureSortingNetsExplained": 3,
    "OneWayHashChainsExplained": 1,
}
"""MPyC's notebooks, each with a number of parties for which it is meant."""

SUITE = """
import sys
import unittest
from mpyc.runtime import mpc

unittest.main(module=None, argv=["mpyc", "discover"])
"""

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


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, without the keys of MPyC's demo authority."""
    copied = tmp_path_factory.mktemp("mpyc") / "demos"
    shutil.copytree(FOLDER, copied, ignore=shutil.ignore_patterns(".config"))
    return copied


@pytest.fixture
def stage(mesh: Mesh, tmp_path: Path) -> Stage:
    stage = Stage(tmp_path, mesh.lab, list(mesh.hosts), mesh.joined.addresses, "nebula")
    stage.deadline_seconds = SECONDS
    return stage


def names() -> list[str]:
    return sorted(path.stem for path in Path(FOLDER).glob("*.py")) if FOLDER else []


@pytest.mark.parametrize("name", names())
def test_a_demo_of_mpyc(stage: Stage, demos: Path, name: str) -> None:
    missing = [package for package in NEEDS.get(name, ()) if find_spec(package) is None]
    if missing:
        pytest.skip(f"it needs {', '.join(missing)}")
    stage.hosts = stage.hosts[:1] if name in ALONE else stage.hosts
    result = stage.run(demos, *ARGS.get(name, "").split(), entry=f"{name}.py")
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert all(party.output for party in result.parties)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_of_mpyc(stage: Stage, demos: Path, name: str) -> None:
    stage.hosts = stage.hosts[: NOTEBOOKS[name]]
    result = stage.run(demos, entry=f"{name}.ipynb")
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert all(party.output for party in result.parties)


def test_mpycs_own_tests(stage: Stage, tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    shutil.copytree(Path(FOLDER).parent / "tests", suite)
    (suite / "main.py").write_text(SUITE)
    stage.hosts = stage.hosts[:1]
    result = stage.run(suite)
    assert result.verdict is Verdict.COMPLETED, stage.log(result, 0)[-2000:]
