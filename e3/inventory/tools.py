"""The overlays' programs, as set-up has built them, for machines of this and other platforms."""

import hashlib
import platform
import tomllib
from pathlib import Path

from e3.interfaces import File, Needs

PROJECT = Path(__file__).parents[2]
BUILT = PROJECT / ".tools"


def folder(system: str) -> Path:
    """Return where the programs of a system are: those of set-up, or built for another one."""
    return BUILT / ("bin" if system == f"{platform.machine()}-linux" else system)


def programs(needs: Needs) -> list[str]:
    """Return the names of the programs that an overlay runs of those that set-up builds."""
    recipes = [PROJECT / "tools" / name / "recipe.toml" for name in needs.tools]
    return [p for recipe in recipes for p in tomllib.loads(recipe.read_text())["programs"]]


def digest(needs: Needs) -> str:
    """Return what names the programs of an overlay, for any system: their pins."""
    state = hashlib.sha256()
    for name in needs.tools:
        source = PROJECT / "tools" / name
        replaced = sorted(it for it in source.glob("*/**/*") if it.is_file())
        for file in (source / "go.mod", source / "recipe.toml", *replaced):
            state.update(file.read_bytes())
    return state.hexdigest()


def missing_tools(needs: Needs, system: str) -> str | None:
    """Return what is not there for machines of that system and how to get it, or None."""
    place = folder(system)
    missing = [name for name in programs(needs) if not (place / name).is_file()]
    if not missing:
        return None
    if place == BUILT / "bin":
        return f"{', '.join(missing)} is not built here; type `make tools`"
    return (
        f"{', '.join(missing)} for {system} is not in .tools/{system}; docs/inventory.md has the "
        "command that builds it"
    )


def files(needs: Needs, system: str, target: str) -> list[File]:
    """Return the programs as files below the folder ``target`` of a machine."""
    return [
        File(path=f"{target}/{name}", content=(folder(system) / name).read_bytes(), mode=0o755)
        for name in programs(needs)
    ]
