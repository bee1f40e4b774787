"""docs/verdicts.md has each verdict, and each of its commands causes its verdict."""

import asyncio
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e3.overlays.plain import Plain
from e3.session.verdicts import EXIT_STATUS, Verdict
from tests.faults.stage import Stage
from tests.labs import running
from tests.overlays import Mesh

ROOT = Path(__file__).parents[2]
NAMES = ("ams3-0", "ams3-1", "ams3-2")
SECTION = re.compile(r"^## (\S+)\n\nExit status (\d+)\..*?^    (.*?)$", re.MULTILINE | re.DOTALL)
SECTIONS = SECTION.findall((ROOT / "docs" / "verdicts.md").read_text())


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running(tmp_path_factory.mktemp("lab"), {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Plain())
        mesh.add(*NAMES)
        mesh.connect(*NAMES)
        yield mesh


def test_each_verdict_has_its_heading_and_exit_status() -> None:
    documented = [(name, int(status)) for name, status, _ in SECTIONS]
    assert documented == [(str(verdict), EXIT_STATUS[verdict]) for verdict in Verdict]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        pytest.param(name, command, marks=[] if name == Verdict.DIVERGED else [pytest.mark.long])
        for name, _, command in SECTIONS
    ],
)
def test_its_command_brings_a_verdict_about(
    mesh: Mesh, tmp_path: Path, name: str, command: str
) -> None:
    words = shlex.split(command)
    stage = Stage(tmp_path, mesh.lab, list(mesh.hosts), mesh.joined.addresses, "plain")
    if "--deadline" in words:
        stage.deadline_seconds = float(words[words.index("--deadline") + 1])
    if name == Verdict.DIVERGED:
        stage.rules = replace(stage.rules, compare="same")
    program = ROOT / words[-1]
    if name == Verdict.CANCELLED:
        with pytest.raises(asyncio.CancelledError):
            stage.cancel(program, word="computing")
        return
    result = stage.run(program)
    assert result.verdict == name, result.reason
    assert bool(result.advice) is (name != Verdict.COMPLETED)
