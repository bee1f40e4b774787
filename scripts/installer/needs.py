"""Print what stacks need beyond the base, as JSON; run by .venv, which knows the overlays.

No stack means every overlay, and no cloud, as tests have stand-ins; programs that are built only if
a stack asks for them are then ``left_out``. An overlay that is unknown
needs nothing here: the deployment names the mistake together with the choices.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from e3.overlays import OVERLAYS
from installer.programs import recipe
from installer.steps import ROOT

OF_FLEET = {"digitalocean": ("digitalocean",)}
OF_CREDENTIAL = {"tailnet": ("command", "tailscale")}
"""The plugins of Pulumi that a fleet needs, and the key of a service for an overlay."""


def configuration(stack: Path) -> dict[str, Any]:
    """Return what a stack's configuration says of its fleet and overlay, or the defaults."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    defaults = {key: row["default"] for key, row in project["config"].items()}
    text = stack.read_text() if stack.exists() else ""
    return {**defaults, **((yaml.safe_load(text) or {}).get("config") or {})}


def overlay(stack: Path) -> str:
    """Return the overlay that a stack configuration names, or the default one."""
    return str(configuration(stack)["e3:overlay"])


def plugins(values: dict[str, Any]) -> set[str]:
    """Return the names of the plugins that a stack needs."""
    found = set(OF_FLEET.get(str(values["e3:fleet"]), ()))
    name = str(values["e3:overlay"])
    needs = OVERLAYS[name].needs if name in OVERLAYS else None
    if needs and needs.credential and "auth-key-file" not in values["e3:overlay-options"]:
        found |= set(OF_CREDENTIAL[needs.credential])
    return found


def version(plugin: str) -> str:
    """Return the version of a plugin that its SDK asks for."""
    found = find_spec(f"pulumi_{plugin}")  # to import it would take a second
    place = found.origin if found and found.origin else ""
    return str(json.loads(Path(place).with_name("pulumi-plugin.json").read_text())["version"])


def main(stacks: list[str]) -> None:
    """Print the union of these stacks' needs; what the default stack needs comes first."""
    values = [configuration(ROOT / f"Pulumi.{stack}.yaml") for stack in stacks]
    names = {str(value["e3:overlay"]) for value in values} or set(OVERLAYS)
    wanted = {name for value in values for name in plugins(value)}
    needs = [OVERLAYS[name].needs for name in names & set(OVERLAYS)]
    tools = {tool for need in needs for tool in need.tools}
    asked = {tool for tool in tools if recipe(ROOT / "tools" / tool).only_if_asked}
    left_out = set() if stacks else asked
    usual = overlay(ROOT / "Pulumi.dev.yaml")
    first = OVERLAYS[usual].needs.tools if usual in OVERLAYS else ()
    print(
        json.dumps(
            {
                # what takes longest comes last
                "tools": sorted(
                    tools - left_out, key=lambda tool: (tool in asked, tool not in first, tool)
                ),
                "left_out": sorted(left_out),
                "packages": sorted({package for need in needs for package in need.packages}),
                "plugins": {name: version(name) for name in sorted(wanted)},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
