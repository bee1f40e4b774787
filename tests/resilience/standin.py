"""A stand-in for a company's control server: Headscale on a host of the lab that no stack knows."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

from e3.interfaces import Host
from e3.overlays.tailscale.headscale import USER, Headscale, make_certificate
from e3.overlays.tailscale.headscale_configuration import CONFIGURATION
from e3.overlays.tailscale.tailscale import Tailscale
from e3.overlays.unit import apply
from tests.overlays import Mesh, ask

CONTROL = "control-0"
SETTINGS = "--config", f"{CONFIGURATION}/config.json", "--output", "json"


def headscale(server: Host, *arguments: str) -> object:
    """Return the answer of the control server's own command line."""
    answer: object = json.loads(ask(server, f"{server.tools}/headscale", *SETTINGS, *arguments))
    return answer


def stand_in(mesh: Mesh, folder: Path) -> None:
    """Give an overlay that needs an account one with a control server on a host of its own."""
    if not isinstance(mesh.overlay, Tailscale):
        assert mesh.overlay.needs.account is None
        return
    control = mesh.lab.add_host(CONTROL, "core").host()
    mesh.hosts.append(control)
    serving = Headscale()
    certificate = asyncio.run(make_certificate(control))
    asyncio.run(apply(control, [serving.server(control, certificate)]))
    headscale(control, "users", "create", USER)
    options = "--user", "1", "--reusable", "--ephemeral"
    made = headscale(control, "preauthkeys", "create", *options)
    assert isinstance(made, dict)
    key, trusted = folder / "tailnet-key", folder / "control.crt"
    key.write_text(made["key"])
    trusted.write_text(certificate)
    mesh.overlay = replace(
        mesh.overlay,
        control_url=serving.url(control, control),
        control_certificate=str(trusted),
        auth_key_file=str(key),
    )
