"""What a program on a lab host can see and do; honest programs notice no restriction."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e3.overlays.nebula import SECRETS, Nebula
from e3.session.verdicts import Verdict
from tests.faults.stage import Stage
from tests.labs import running
from tests.overlays import Mesh, ask

NAMES = ("ams3-0", "ams3-1", "ams3-2")
SDIST = ["--no-deps", "--no-binary", "mpyc", "--quiet", "mpyc==0.11"]
MPYC_PROGRAMS = ("test_gmpy", "test_mpctools", "test_numpy")
"""Tests from MPyC's sdist; MPyC's demos are only in its repository.

Its other tests expect a single party: among three they fail or wait without E3, too.
"""

TOGETHER = """
import sys
import unittest
from mpyc.runtime import mpc

mpc.run(mpc.start())
went = unittest.main("{name}", argv=["tests"], exit=False).result
mpc.run(mpc.shutdown())
sys.exit(not went.wasSuccessful())
"""
"""Runs one of MPyC's tests with all parties."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("lab")
    with running(folder, {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Nebula())
        mesh.add(*NAMES)
        mesh.connect(*NAMES)
        mesh.verify_pairs()
        yield mesh


@pytest.fixture
def stage(mesh: Mesh, tmp_path: Path) -> Stage:
    return Stage(tmp_path, mesh.lab, list(mesh.hosts), mesh.joined.addresses, "nebula")


def lines(stage: Stage, program: str) -> dict[str, str]:
    """Run a program that prints ``name: value``; return what party 1 printed."""
    result = stage.run(program)
    assert result.verdict is Verdict.COMPLETED, result.reason
    said = [line.partition(": ") for line in result.parties[1].output.splitlines()]
    return {name: value for name, _, value in said}


def test_a_program_sees_its_own_folder_and_no_keys(stage: Stage) -> None:
    for host in stage.hosts:
        ask(host, "test", "-e", f"{SECRETS}/host.key")
        ask(host, "sh", "-c", "mkdir -p /run/e3/sessions/other && echo x > /tmp/left-by-another")
    stage.known = frozenset({"/run/e3/sessions/other"})
    try:
        said = lines(
            stage,
            f"""
import os
print('sessions:', len(os.listdir('/run/e3/sessions')))
print('tmp:', os.path.exists('/tmp/left-by-another'))
print('keys:', os.path.exists({SECRETS!r}))
print('services:', os.path.exists('/run/service'))
print('here:', sorted(os.listdir('.')))
open('own', 'w').write('1')
open('/tmp/own', 'w').write('1')
""",
        )
    finally:
        for host in stage.hosts:
            ask(host, "rm", "-r", "/run/e3/sessions/other", "/tmp/left-by-another")  # noqa: S108 -- the host's
    assert said == {
        "sessions": "1",
        "tmp": "False",
        "keys": "False",
        "services": "False",
        "here": "['program.py']",
    }
    assert not any(ask(host, "find", "/tmp", "-name", "own") for host in stage.hosts)  # noqa: S108 -- the host's


def test_a_program_is_nobody_and_gains_nothing(stage: Stage) -> None:
    said = lines(
        stage,
        """
import os, resource
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
print('user:', os.getuid() == os.geteuid() >= 0x40000000)
print('groups:', os.getgroups())
for name in ('CapPrm', 'CapEff', 'CapBnd', 'NoNewPrivs'):
    print(f'{name}:', int(status[name], 16))
try:
    os.kill(os.getppid(), 9)
except PermissionError:
    print('runner: safe')
try:
    os.setuid(0)
except PermissionError:
    print('root: never')
""",
    )
    nothing = dict.fromkeys(("CapPrm", "CapEff", "CapBnd"), "0")
    assert said == {
        "user": "True",
        "groups": "[]",
        **nothing,
        "NoNewPrivs": "1",
        "runner": "safe",
        "root": "never",
    }


def test_processes_and_files_are_bounded(stage: Stage) -> None:
    few = replace(stage.rules.limits, processes=100)  # as many as are allowed cost much to make
    stage.rules = replace(stage.rules, limits=few)
    said = lines(
        stage,
        """
import os, time
children = 0
try:
    while children < 2000:
        if os.fork() == 0:
            time.sleep(1000)
            os._exit(0)
        children += 1
except BlockingIOError:
    print('forks:', children < 100)
try:
    with open('large', 'wb') as file:
        file.seek(300_000_000)
        file.write(b'x')
except OSError as error:
    print('file:', error.strerror)
""",
    )
    assert said == {"forks": "True", "file": "File too large"}


@pytest.fixture(scope="module")
def mpyc_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs that MPyC's own sdist has."""
    folder = tmp_path_factory.mktemp("mpyc")
    download = [sys.executable, "-m", "pip", "download", *SDIST, "--dest", str(folder)]
    done = subprocess.run(download, capture_output=True, text=True, check=False, timeout=600)
    found = sorted(folder.glob("mpyc-*.tar.gz"))
    if done.returncode or not found:
        pytest.skip(f"MPyC's sdist cannot be had here: {done.stderr.strip()[-200:]}")
    subprocess.run(["tar", "-xf", found[0], "-C", folder], check=True, timeout=600)
    return next(folder.glob("mpyc-*/tests"))


@pytest.mark.parametrize("name", MPYC_PROGRAMS)
def test_a_program_not_written_here(stage: Stage, mpyc_programs: Path, name: str) -> None:
    folder = stage.folder / "together"
    folder.mkdir()
    shutil.copy(mpyc_programs / f"{name}.py", folder)
    (folder / "main.py").write_text(TOGETHER.format(name=name))
    result = stage.run(folder)
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert "OK" in stage.log(result, 2)
