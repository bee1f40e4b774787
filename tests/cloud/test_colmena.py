"""`colmena apply` as a resource: real engine, real SDK; only Colmena is not the real one.

There is no Colmena without Nix. What stands for it notes how it was called, so that what is
tested is when it is called, and with what.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e3.components import colmena
from e3.errors import ConfigurationError, PlatformError
from tests.cloud.cloud import install
from tests.stack import Stack, project

COLMENA = """#!/bin/sh
printf '%s\\n' "$*" "$SSH_CONFIG_FILE" "$E3_HOSTS" >> calls
[ ! -e broken ] || { echo "error: builder failed" >&2; exit 1; }
"""
PROGRAM = """
import pulumi
from pulumi import Output
from e3.components import colmena
hosts = [Output.from_input(host) for host in pulumi.Config().require_object("hosts")]
colmena.apply_hive("a hive.nix", hosts, ".e3/trial/ssh_config")
"""


def host(name: str) -> dict[str, Any]:
    access = {"kind": "ssh", "host": name, "address": "198.18.0.2"}
    known = {"region": "ams3", "system": "x86_64-linux", "underlay": "198.18.0.2"}
    return {
        "name": name,
        **known,
        "reachability": "public",
        "python": "python3",
        "tools": "/tools",
        "access": access,
    }


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with project(tmp_path_factory.mktemp("project")) as made:
        plugins = made.folder / "plugins"
        plugins.mkdir()
        install(plugins, "command")
        (plugins / "colmena").write_text(COLMENA)
        (plugins / "colmena").chmod(0o755)
        (made.folder / "__main__.py").write_text(PROGRAM)
        (made.folder / "a hive.nix").write_text("{}")
        # a list of any kind, which the schema of this project would not have
        schema = (made.folder / "Pulumi.yaml").read_text()
        (made.folder / "Pulumi.yaml").write_text(schema.partition("config:")[0])
        path = f"{plugins}:{made.environment['PATH']}"
        yield replace(made, environment={**made.environment, "PATH": path}, base={})


def calls(stack: Stack) -> list[str]:
    """Return the lines of what was called since the last question."""
    noted = stack.folder / "calls"
    lines = noted.read_text().splitlines() if noted.exists() else []
    noted.unlink(missing_ok=True)
    return lines


@pytest.mark.long
def test_a_hive_is_applied_when_it_or_the_hosts_change(stack: Stack) -> None:
    def up(*names: str) -> int:
        return stack.up(hosts=[host(name) for name in names]).exit

    assert up("ams3-0") == 0
    called, config, hosts = calls(stack)
    assert called == "apply --config a hive.nix"
    assert config == ".e3/trial/ssh_config"
    assert json.loads(hosts)["ams3-0"]["deployment"]["targetHost"] == "ams3-0"
    assert up("ams3-0") == 0
    assert calls(stack) == []
    assert up("ams3-0", "ams3-1") == 0
    assert list(json.loads(calls(stack)[2])) == ["ams3-0", "ams3-1"]
    (stack.folder / "a hive.nix").write_text("{ }")
    assert up("ams3-0", "ams3-1") == 0
    assert len(calls(stack)) == 3
    (stack.folder / "broken").touch()
    ended = stack.up(hosts=[host("ams3-0")])
    assert ended.exit != 0
    assert "error: builder failed" in ended.said
    calls(stack)
    assert stack.pulumi("destroy --yes --skip-preview").exit == 0
    assert calls(stack) == []


def test_what_is_missing_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colmena.check("")
    with pytest.raises(ConfigurationError, match=r"colmena is 'no/such.nix', which is not a file"):
        colmena.check("no/such.nix")
    (tmp_path / "hive.nix").write_text("{}")
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(PlatformError, match="`nix develop` gives a shell that has it"):
        colmena.check(str(tmp_path / "hive.nix"))
