"""Print what stacks need beyond the base, as JSON; run by .venv, which knows the overlays.

No stack means every overlay. An overlay that is unknown needs nothing here: the
deployment names the mistake together with the choices.
"""

import json
import sys
from pathlib import Path
from typing import cast

import yaml

from e3.interfaces import Overlay
from e3.overlays import OVERLAYS
from installer.steps import ROOT


def overlay(stack: Path) -> str:
    """Return the overlay that a stack configuration names, or the default one."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    default = project["config"]["e3:overlay"]["default"]
    text = stack.read_text() if stack.exists() else ""
    values = (yaml.safe_load(text) or {}).get("config") or {}
    return str(values.get("e3:overlay", default))


def main(stacks: list[str]) -> None:
    """Print the union of these stacks' needs."""
    names = {overlay(ROOT / f"Pulumi.{stack}.yaml") for stack in stacks} or set(OVERLAYS)
    needs = [cast(type[Overlay], OVERLAYS[name]).needs for name in names & set(OVERLAYS)]
    print(
        json.dumps(
            {
                "tools": sorted({tool for need in needs for tool in need.tools}),
                "packages": sorted({package for need in needs for package in need.packages}),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
