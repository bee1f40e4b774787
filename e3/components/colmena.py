"""Apply a hive of NixOS configurations to the hosts with Colmena (https://colmena.cli.rs)."""

import hashlib
import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulumi import Input, Output, Resource

from e3 import outputs
from e3.access import host_from_properties
from e3.errors import ConfigurationError, PlatformError

APPLY_SECONDS = 3600
"""For building and switching; pulumi-command has no limit for a local command."""

SOURCES = ("*.nix", "flake.lock", "nix/**/*.nix", "images/**/*.nix")


def check(hive: str) -> None:
    """Raise an `E3Error` unless the hive exists and Colmena is installed."""
    if not hive:
        return
    if not Path(hive).is_file():
        raise ConfigurationError(
            f"e3:fleet-options: colmena is {hive!r}, which is not a file; name a hive, such as "
            "nix/hive.nix"
        )
    if shutil.which("colmena") is None:
        raise PlatformError(
            "e3:fleet-options: colmena names a hive, but the program colmena is missing; "
            "`nix develop` gives a shell that has it"
        )


def apply_hive(
    hive: str, hosts: Sequence[Output[Mapping[str, Any]]], ssh_config: Input[str]
) -> Resource:
    """Declare `colmena apply`, which runs again when the hosts, the hive or Nix files change.

    The hive reads the hosts from E3_HOSTS, one module for each by name (`e3.outputs.colmena`).
    """
    from pulumi_command import local  # noqa: PLC0415 - slow to load, and only needed here

    config = Output.from_input(ssh_config)
    nodes = Output.all(config, *hosts).apply(lambda known: render(known[1:], known[0]))
    return local.Command(
        "colmena",
        create=f"timeout {APPLY_SECONDS} colmena apply --config {shlex.quote(hive)}",
        environment={"E3_HOSTS": nodes, "SSH_CONFIG_FILE": config},
        triggers=[digest([hive])],
        add_previous_output_in_env=False,
    )


def render(hosts: Sequence[Mapping[str, Any]], ssh_config: str) -> str:
    """Return the nodes as JSON."""
    known = [host_from_properties(host) for host in hosts]
    members = [outputs.HostOutput(host=host, overlay="", pid=None) for host in known]
    return json.dumps(outputs.colmena(members, ssh_config), sort_keys=True)


def digest(files: Sequence[str], folder: Path = Path()) -> str:
    """Return a digest of these files and the project's Nix files."""
    found = {folder / file for file in files}
    found |= {path for pattern in SOURCES for path in folder.glob(pattern)}
    total = hashlib.sha256()
    for path in sorted(found):
        total.update(f"{path.relative_to(folder)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
