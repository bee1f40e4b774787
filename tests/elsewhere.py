"""Programs of other ecosystems that tests compare E3 with: by uv, npm and cargo, in `.tools`.

A test is skipped, and says what to type, where their packages cannot be had. What can be had and
does not build fails the test.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.commands import ROOT

FETCH_SECONDS, BUILD_SECONDS = 300, 900
NEWER = "typing-extensions>=4.12\nattrs>=24\npackaging>=24\n"
"""Instead of the versions that didcomm 0.3.2 asks for, which lack wheels for newer Pythons."""


def _fetched(argv: Sequence[str], place: Path) -> None:
    """Run a command that fetches packages; skip the test if it cannot."""
    try:
        done = subprocess.run(
            argv, cwd=place, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
        )
    except FileNotFoundError:
        pytest.skip(f"{argv[0]} is not on PATH")
    if done.returncode:
        pytest.skip(f"`{' '.join(argv)}` in {place} fails: {done.stderr[-300:]}")


def installed_by_uv(folder: Path, *wanted: str) -> Path:
    """Return the Python of a new environment in ``folder`` that has these packages."""
    (folder / "overrides.txt").write_text(NEWER)
    uv, python = str(ROOT / ".venv/bin/uv"), folder / "venv/bin/python"
    _fetched([uv, "venv", "--quiet", str(folder / "venv")], folder)
    install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    _fetched([*install, "--override", "overrides.txt", *wanted], folder)
    return python


def installed_by_npm(name: str) -> Path:
    """Return the folder that has a copy of tests/node/``name`` with what it depends on."""
    place = ROOT / f".tools/{name}-check"
    shutil.copytree(ROOT / "tests/node" / name, place, dirs_exist_ok=True)
    options = ("--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline")
    _fetched(["npm", "install", *options], place)
    return place


def built_by_cargo(name: str) -> Path:
    """Return the program that tests/rust/``name`` makes."""
    place = ROOT / f".tools/{name}-check"
    shutil.copytree(ROOT / "tests/rust" / name, place, dirs_exist_ok=True)
    _fetched(["cargo", "fetch", "--quiet"], place)
    done = subprocess.run(
        ["cargo", "build", "--quiet", "--offline"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
        env={**os.environ, "CARGO_TARGET_DIR": str(place / "target")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return place / f"target/debug/e3-{name}-check"
