"""Programs as people have them run unchanged: files beside them, notebooks, pictures, tests.

They stand in for MPyC's own demos, see `test_mpyc_demos`: each uses what some of those use.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from e3.overlays.plain import Plain
from e3.session.results import SessionResult
from e3.session.verdicts import Verdict
from tests.faults.stage import Stage
from tests.labs import running
from tests.overlays import Mesh

NAMES = ("ams3-0", "ams3-1", "ams3-2")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("lab")
    with running(folder, {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Plain())
        mesh.add(*NAMES)
        mesh.connect(*NAMES)
        yield mesh


@pytest.fixture
def stage(mesh: Mesh, tmp_path: Path) -> Stage:
    return Stage(tmp_path, mesh.lab, list(mesh.hosts), mesh.joined.addresses, "plain")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "demos"
    path.mkdir()
    return path


def plant(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files by their paths below a folder."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def printed(result: SessionResult) -> str:
    """Return what all parties of a completed session printed."""
    assert result.verdict is Verdict.COMPLETED, result.reason
    (output,) = {party.output for party in result.parties}
    return output


HELPER = """
from mpyc.runtime import mpc

secint = mpc.SecInt(32)


async def total(value):
    return await mpc.output(mpc.sum(mpc.input(secint(value))))
"""

COUNT = """
import csv
import os
import sys

from helper import mpc, total


async def main():
    with open(os.path.join("data", "votes", "one.csv")) as file:
        own = sum(int(row[0]) for row in csv.reader(file))
    async with mpc:
        print(await total(own + mpc.pid), sorted(os.listdir()), sys.argv[1:])


if __name__ == "__main__":
    mpc.run(main())
"""


def test_a_file_with_siblings_data_and_arguments(stage: Stage, folder: Path) -> None:
    plant(folder, {"helper.py": HELPER, "count.py": COUNT, "data/votes/one.csv": "1\n2\n"})
    plant(folder, {"other.py": "raise SystemExit('not this one')", "draft.log": "x"})
    (folder / ".gitignore").write_text("*.log\n__pycache__/\n/data/\n")
    (folder / ".e3ignore").write_text("!/data/\n/other.py\n")
    (folder / "out").mkdir()
    output = printed(stage.run(folder, "-T1", "--fast", entry="count.py"))
    there = "['.e3ignore', '.gitignore', '__pycache__', 'count.py', 'data', 'helper.py', 'out']"
    assert output == f"12 {there} ['--fast']\n"


def write_notebook(path: Path, *cells: str) -> None:
    made = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    made.insert(1, {"cell_type": "markdown", "source": ["# Explained\n"]})
    metadata = {"kernelspec": {"language": "python", "name": "python3"}}
    text = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": made})
    path.write_text(text)


def test_a_notebook_that_explains_a_computation(stage: Stage, folder: Path) -> None:
    plant(folder, {"helper.py": HELPER})
    write_notebook(
        folder / "Explained.ipynb",
        "# packages first\n!python -m pip -q install numpy\n%matplotlib inline",
        "from helper import mpc, secint, total\nmpc.run(mpc.start())",
        "await total(mpc.pid)",
        "@mpc.coroutine\nasync def double(x):\n    await mpc.returnType(secint)\n    return x + x",
        "print(mpc.run(mpc.output(double(secint(21)))))",
        "for i in range(2):\n    print(i, await mpc.output(secint(i)))",
        "mpc.run(mpc.shutdown())",
        "import sys; sys.exit()",
        "!python Explained.py -M3",
        "1 / 0",
    )
    result = stage.run(folder, entry="Explained.ipynb")
    assert printed(result) == "3\n42\n0 0\n1 1\n"
    assert "`cell 9: !python Explained.py -M3`" in result.notes[0]


SUITE = """
import unittest
from asyncio import Transport
from unittest.mock import Mock

from mpyc.asyncoro import MessageExchanger
from mpyc.runtime import mpc


class Arithmetic(unittest.TestCase):
    def test_sums(self):
        secint = mpc.SecInt()
        self.assertEqual(mpc.run(mpc.output(secint(3) + secint(4))), 7)

    def test_a_transport_that_is_mocked(self):
        exchanger = MessageExchanger(mpc)
        transport = Mock(Transport)
        exchanger.connection_made(transport)
        exchanger.data_received(b"\\0")
        self.assertIs(exchanger.transport, transport)

    def test_one_party(self):
        self.assertEqual(len(mpc.parties), 1)


if __name__ == "__main__":
    unittest.main()
"""


def test_tests_of_mpyc_with_one_party(stage: Stage, folder: Path) -> None:
    plant(folder, {"test_sums.py": SUITE})
    stage.hosts = stage.hosts[:1]
    result = stage.run(folder, "-v", entry="test_sums.py")
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert "Ran 3 tests" in stage.log(result, 0)


WHO = """
import getpass, os, pathlib, pwd
from mpyc.runtime import mpc
print(getpass.getuser(), os.environ["USER"], os.environ["LOGNAME"], pwd.getpwuid(os.getuid())[0])
print(pathlib.Path.home() == pathlib.Path.cwd())
"""


def test_a_program_that_asks_who_runs_it(stage: Stage) -> None:
    assert printed(stage.run(WHO)) == "party party party party\nTrue\n"


PYPLOT = """
from matplotlib.backend_bases import FigureManagerBase

managers = []


def figure():
    managers.append(FigureManagerBase(len(managers)))
    return managers[-1].canvas.figure


def show(*args, **options):
    for manager in managers:
        manager.show()


def close(which):
    managers.clear()
"""
BASES = """
class FigureManagerBase:
    def __init__(self, number):
        self.canvas = self.figure = self
        self.number = number

    def savefig(self, path):
        path.write_text(f"picture {self.number}")

    def show(self):
        raise RuntimeError("there is no display")
"""
SHOW = """
import matplotlib.pyplot as plt
plt.figure(); plt.figure()
plt.show()
plt.figure()
plt.show(block=False)
plt.show()
print("shown")
"""


def test_pictures_that_a_program_shows_are_files(stage: Stage, folder: Path) -> None:
    # matplotlib itself is in no environment of E3's: this has the parts of it that are used
    plant(folder, {"show.py": SHOW, "matplotlib/__init__.py": ""})
    plant(folder, {"matplotlib/pyplot.py": PYPLOT, "matplotlib/backend_bases.py": BASES})
    result = stage.run(folder, entry="show.py")
    assert printed(result) == "shown\n"
    kept = stage.folder / "sessions" / result.id / "output" / NAMES[1]
    assert {path.name: path.read_text() for path in kept.iterdir()} == {
        "figure-1.png": "picture 0",
        "figure-2.png": "picture 1",
        "figure-3.png": "picture 0",
        "figure-4.png": "picture 0",
    }
    assert "figure-1.png: a figure that the program showed" in stage.log(result, 1)
    write_notebook(folder / "show.ipynb", "import matplotlib.pyplot as plt", "plt.figure();", "1")
    result = stage.run(folder, entry="show.ipynb")
    kept = stage.folder / "sessions" / result.id / "output" / NAMES[0]
    assert [path.name for path in kept.iterdir()] == ["figure-1.png"]


SHARED = """
import os, sys
from concurrent.futures import ProcessPoolExecutor
import numpy as np
from mpyc.runtime import mpc

import lib.mask as mask


def square(x):
    return x * x


async def main():
    await mpc.start()
    secfld = mpc.SecFld(101)
    a = secfld.array(np.array([[1, 2], [3, 4]]))
    print((await mpc.output(a @ a)).tolist(), mask.VALUE, flush=True)
    await mpc.shutdown()


if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool:
        print(list(pool.map(square, range(3))))
    mpc.run(main())
"""


def test_arrays_packages_and_processes(stage: Stage, folder: Path) -> None:
    plant(folder, {"main.py": SHARED, "lib/__init__.py": "", "lib/base.py": "VALUE = 5"})
    plant(folder, {"lib/mask.py": "from .base import VALUE"})
    assert printed(stage.run(folder)) == "[0, 1, 4]\n[[7, 10], [15, 22]] 5\n"
