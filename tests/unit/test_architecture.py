"""docs/architecture.md shows the layers that import-linter holds; decisions have numbers."""

import re
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]


def rooms(layer: str) -> set[str]:
    return set(re.findall(r"\w+", layer))


def test_the_page_shows_the_layers_in_their_order() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (layers,) = (
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and contract["containers"] == ["e3"]
    )
    page = (ROOT / "docs" / "architecture.md").read_text()
    block = page.partition("## Who may know whom\n\n")[2].partition("\n\n")[0]
    shown = [re.split(r"\s{2,}", line.strip())[0] for line in block.splitlines()]
    assert list(map(rooms, shown)) == list(map(rooms, layers))


def test_each_decision_has_a_number_of_its_own() -> None:
    files = sorted((ROOT / "docs" / "adr").glob("*.md"))
    numbers = [int(file.name[:4]) for file in files]
    assert numbers == list(range(1, len(files) + 1))
    assert all(
        file.read_text().startswith(f"# {n}. ") for n, file in zip(numbers, files, strict=True)
    )
