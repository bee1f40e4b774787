"""Pulumi's language host gets the packages that pip lists, without waiting for pip."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = "scripts/python-for-pulumi"
QUESTION = ["-m", "pip", "list", "-v", "--format", "json"]
"""What the language host types (pulumi/sdk v3.79.0, python/cmd/pulumi-language-python)."""

Package = tuple[str, str, str]


def listed(*program: str | Path) -> set[Package]:
    """Return name, version and folder of each package, as a program answers the question."""
    done = subprocess.run([*program, *QUESTION], check=True, capture_output=True)
    known = json.loads(done.stdout)
    return {
        (re.sub("[._]", "-", it["name"]).lower(), it["version"], it["location"]) for it in known
    }


@pytest.fixture(scope="module")
def by_pip() -> set[Package]:
    return listed(ROOT / ".venv/bin/python")


def test_the_list_is_that_of_pip(by_pip: set[Package]) -> None:
    found = listed(ROOT / SCRIPT)
    assert found == by_pip
    assert {"pulumi-command", "pulumi-digitalocean", "pulumi-tailscale"} <= {it[0] for it in found}


def test_a_folder_whose_name_json_escapes_is_listed_as_well(
    by_pip: set[Package], tmp_path: Path
) -> None:
    folder = tmp_path / 'a "project"'
    (folder / "scripts").mkdir(parents=True)
    for script in (SCRIPT, "scripts/installed_packages.py"):
        shutil.copy(ROOT / script, folder / script)
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    found = listed(folder / SCRIPT)
    assert {it[:2] for it in found} == {it[:2] for it in by_pip}
    assert {Path(it[2]).parents[3] for it in found} == {folder}


def test_all_else_is_for_the_python_of_the_project() -> None:
    asked = [
        str(ROOT / SCRIPT),
        "-c",
        "import sys; print(sys.prefix, sys.argv, sep='|')",
        "a b",
        "c",
    ]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    prefix, _, arguments = said.strip().partition("|")
    assert Path(prefix).resolve() == Path(sys.prefix).resolve()
    assert arguments == "['-c', 'a b', 'c']"
