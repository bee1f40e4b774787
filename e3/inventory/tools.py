"""The overlays' programs, as set-up has built them, for machines of this and other platforms."""

import hashlib
import platform
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e3.interfaces import File, Needs

PROJECT = Path(__file__).parents[2]
BUILT = PROJECT / ".tools"
PINS = ("go.mod", "Cargo.lock", "Cargo.toml", "recipe.toml")


def folder(system: str) -> Path:
    """Return the folder of a system's programs: built by set-up, or for another system."""
    return BUILT / ("bin" if system == f"{platform.machine()}-linux" else system)


def programs(needs: Needs) -> list[str]:
    """Return the names of the programs that set-up builds for an overlay."""
    return [program for name in needs.tools for program in _recipe(name)["programs"]]


def digest(needs: Needs) -> str:
    """Return the digest of the pins of an overlay's programs, for any system."""
    state = hashlib.sha256()
    for name in needs.tools:
        source = PROJECT / "tools" / name
        pins = [source / it for it in PINS if (source / it).exists()]
        beside = re.findall(r"=> (\.\./\S+)", pins[0].read_text())
        folders = [source, *(source / path for path in beside)]
        own = sorted(it for folder in folders for it in folder.glob("*/**/*") if it.is_file())
        for file in (*pins, *own):
            state.update(file.read_bytes())
    return state.hexdigest()


def missing_tools(needs: Needs, system: str) -> str | None:
    """Return which programs are missing for that system and how to get them, or None."""
    place = folder(system)
    missing = [name for name in programs(needs) if not (place / name).is_file()]
    if not missing:
        return None
    if place == BUILT / "bin":
        stack = next((name for name in needs.tools if _recipe(name).get("only_if_asked")), "--all")
        return f"{', '.join(missing)} is not built here; type `scripts/setup {stack}`"
    return (
        f"{', '.join(missing)} for {system} is not in .tools/{system}; docs/inventory.md has the "
        "command that builds it"
    )


def files(needs: Needs, system: str, target: str) -> list[File]:
    """Return the programs as files for the folder ``target`` of a machine."""
    return [
        File(path=f"{target}/{name}", content=(folder(system) / name).read_bytes(), mode=0o755)
        for name in programs(needs)
    ]


def _recipe(name: str) -> Mapping[str, Any]:
    return tomllib.loads((PROJECT / "tools" / name / "recipe.toml").read_text())
