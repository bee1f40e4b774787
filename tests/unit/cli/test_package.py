"""E3 as a package, and what a system other than Linux can do of a session."""

import re
import subprocess
import sys
import venv
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.adhoc import LINK, PersonAtHome, acquainted, mediator, people, rooms_work
from tests.commands import ROOT

pytestmark = [pytest.mark.unit, pytest.mark.slow]

MISSING = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
"""Modules of Python that Windows does not have."""

ABSENT = ("O_CLOEXEC", "O_NOFOLLOW", "chown", "fchmod", "fork", "geteuid", "getuid", "setsid")
"""What its module ``os`` lacks; Python's own asyncio and subprocess use the rest here."""

ELSEWHERE = f"""
import os, signal, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in {MISSING!r}:
            raise ModuleNotFoundError(f"this system has no {{name}}", name=name)

# what is not E3's knows other systems by itself
import asyncio, subprocess, tempfile, shutil, getpass, urllib.request
import aiohttp, rich.console, rich.live, rich.filesize, cryptography.x509, segno, mnemonic, numpy
for name in {MISSING!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
for name in {ABSENT!r}:
    delattr(os, name)
sys.platform = sys.argv.pop(1)
from e3.cli.__main__ import main
sys.exit(main())
"""


def elsewhere(person: PersonAtHome, platform: str) -> PersonAtHome:
    """Return the same person where modules of Linux are missing."""
    return replace(person, command=(sys.executable, "-c", ELSEWHERE, platform))


@pytest.mark.skipif(not rooms_work(), reason="whoever invites needs a room")
def test_an_invitation_is_read_and_answered_without_modules_of_linux(tmp_path: Path) -> None:
    """The way to the consent: identity, mediator, program, and the questions."""
    with mediator(tmp_path) as (url, _):
        alice, bob = people(tmp_path, ["alice", "bob"], url)
        with alice.typing("invite", "demos/auction.py", "--parties", "2") as a:
            link = a.await_text(LINK.pattern)[1]
            with elsewhere(bob, "linux").typing("join", link) as b:
                b.await_text(r"alice \(unknown\) invites you to compute auction")
                b.await_text("take part")
                a.await_text(r"bob \(unknown\) \(reading\)")
                b.type("n")
                b.await_text("you did not consent; nothing was run")
                assert b.end() == 2


@pytest.mark.skipif(not rooms_work(), reason="whoever invites needs a room")
@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_another_system_says_who_invites_to_what_and_takes_no_seat(
    tmp_path: Path, platform: str
) -> None:
    with mediator(tmp_path) as (url, _):
        alice, bob = people(tmp_path, ["alice", "bob"], url)
        with alice.typing("invite", "demos/auction.py", "--parties", "2") as a:
            link = a.await_text(LINK.pattern)[1]
            done = elsewhere(bob, platform).run("join", link)
    assert done.returncode == 2
    assert "invites 1 others to compute auction" in done.stdout
    assert "use a Linux machine" in done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, as `pip wheel` does."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=300)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_has_the_command_the_party_and_the_tunnels_program(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert "e3/party/runner.py" in names
    assert any(name.endswith(".data/scripts/e3-tunnel") for name in names)
    assert re.search(r"-py3-none-(?!any)", wheel.name)
    assert not any(name.startswith(("tests/", "bench/", "tools/", ".")) for name in names)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone, and lend it the packages that it requires."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=False)
    python = place / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", str(wheel)], check=True, timeout=120)
    (packages,) = place.glob("lib/python*/site-packages")
    (ours,) = (ROOT / ".venv/lib").glob("python*/site-packages")
    (packages / "lent.pth").write_text(f"{ours}\n")
    return place


def of_package(person: PersonAtHome, place: Path) -> PersonAtHome:
    plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": ""}
    return replace(person, command=(place / "bin/e3",), more=plain)


@pytest.mark.skipif(not rooms_work(), reason="needs user namespaces, /dev/net/tun and e3-tunnel")
def test_two_people_compute_with_e3_as_a_package(installed: Path, tmp_path: Path) -> None:
    with mediator(tmp_path) as (url, _):
        two = people(tmp_path, ["alice", "bob"], url)
        acquainted(two)
        alice, bob = (of_package(each, installed) for each in two)
        asked = ("invite", str(ROOT / "demos/auction.py"), "--parties", "2", "--yes")
        with alice.typing(*asked) as a:
            link = a.await_text(LINK.pattern)[1]
            with bob.typing("join", link, "--yes") as b:
                for each in (a, b):
                    each.await_text("wins and pays")
                    assert each.end() == 0


def test_a_package_has_the_verbs_that_need_no_stack(installed: Path, tmp_path: Path) -> None:
    me = of_package(PersonAtHome(tmp_path / "me"), installed)
    shown = me.run("--help").stdout
    assert "join" in shown
    assert "campaign" not in shown
    assert me.run("id", "--json").returncode == 0
    assert not list(installed.rglob(".e3"))
