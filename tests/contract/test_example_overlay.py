"""An overlay is added to a copy of the project as docs/adding-an-overlay.md says, and fulfils all.

tests/example holds its files where they belong in the project.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from e3.overlays import OVERLAYS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example"
SECONDS = 600.0
CACHES = (".import_linter_cache", ".mypy_cache", ".ruff_cache")
"""What the checks of the original keep: with it, they look at what is new alone."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, with what set-up made in the original."""
    folder = tmp_path / "project"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    for name in map(os.fsdecode, filter(None, names)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, folder / name)
    for name in (".venv", ".tools"):
        (folder / name).symlink_to(ROOT / name)
    for name in CACHES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
    return folder


def insert(path: Path, before: str, text: str) -> None:
    """Add text to a file, at the one place that the page names."""
    content = path.read_text()
    assert content.count(before) == 1, f"{path} has {before!r} {content.count(before)} times"
    path.write_text(content.replace(before, text + before))


def add(project: Path) -> None:
    """Follow the steps of the page."""
    # 1, 3, 6: the overlay, its script, its cases
    shutil.copytree(EXAMPLE, project, dirs_exist_ok=True)
    # 2: its line in the registry
    registry = project / "e3" / "overlays" / "__init__.py"
    insert(registry, '        "headscale":', '        "fastd": "e3.overlays.fastd:Fastd",\n')
    # 4: its stack configuration
    plain = (project / "Pulumi.plain.yaml").read_text()
    (project / "Pulumi.fastd.yaml").write_text(plain.replace("overlay: plain", "overlay: fastd"))
    # 5: its heading, and its row in the table of needs
    page = project / "docs" / "overlays.md"
    row = "| `fastd` | yes | yes | no | no | no | no | no |\n"
    insert(page, "| `headscale` |", row)
    insert(page, "## headscale\n", "## fastd\n\nEncrypted Ethernet by fastd.\n\n")


def run(project: Path, *argv: str) -> str:
    done = subprocess.run(
        argv,
        cwd=project,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_the_page_leads_to_an_overlay_that_fulfils_the_contract(project: Path) -> None:
    add(project)
    run(project, "ruff", "check", "e3/overlays")
    run(project, "mypy", "e3/overlays/fastd.py")
    run(project, "lint-imports", "--no-logo")
    needs, cases = (f"tests/unit/overlays/test_{name}.py" for name in ("needs", "cases"))
    contract = "tests/contract/test_overlays.py"
    said = run(project, "pytest", "-v", needs, cases, contract, "-k", "test_needs or fastd")
    passed = re.findall(r"^(\S+\.py)::.* PASSED", said, re.MULTILINE)
    assert needs in passed
    assert passed.count(cases) == 2
    assert passed.count(contract) == 3


def test_the_example_is_no_overlay_of_the_project() -> None:
    assert "fastd" not in OVERLAYS
