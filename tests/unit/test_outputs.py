"""The hosts of a stack in the formats of other tools, as data and by these tools' own parsers."""

import ipaddress
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from e3 import outputs
from e3.errors import HostError
from tests.hosts import host

CONFIG = ".e3/a stack/ssh_config"


def member(name: str, underlay: str, overlay: str, pid: int | None) -> outputs.HostOutput:
    return outputs.HostOutput(host=host(name, underlay), overlay=overlay, pid=pid)


MEMBERS = [
    member("ams3-0", "198.18.0.2", "10.77.0.1", 1),
    member("ams3-1", "2001:db8::2", "fd77::2", None),
    member("sgp1-0", "pi.example.org", "10.77.0.3", 0),
]


def test_pssh_has_a_host_a_line() -> None:
    assert outputs.pssh(MEMBERS, CONFIG) == "ams3-0\nams3-1\nsgp1-0"


def test_mpyc_has_the_parties_by_pid() -> None:
    assert outputs.mpyc(MEMBERS) == (
        "sgp1-0 10.77.0.3:11365 python3\nams3-0 10.77.0.1:11366 python3"
    )


def test_colmena_has_a_module_for_each_node() -> None:
    hive = outputs.colmena(MEMBERS, CONFIG)
    assert json.loads(json.dumps(hive)) == hive
    assert list(hive) == ["ams3-0", "ams3-1", "sgp1-0"]
    assert hive["sgp1-0"] == {
        "deployment": {"targetHost": "sgp1-0", "targetUser": None, "tags": ["sgp1"]},
        "networking": {"hostName": "sgp1-0"},
        "nixpkgs": {"system": "x86_64-linux"},
    }


@pytest.mark.skipif(shutil.which("nix-instantiate") is None, reason="needs nix")
def test_nix_reads_the_hive(tmp_path: Path) -> None:
    (tmp_path / "hosts.json").write_text(json.dumps(outputs.colmena(MEMBERS, CONFIG)))
    hive = f"builtins.fromJSON (builtins.readFile {tmp_path}/hosts.json)"
    ask = f"builtins.mapAttrs (_: node: node.deployment.targetHost) ({hive})"
    command = ["nix-instantiate", "--eval", "--strict", "--json", "--expr", ask]
    said = subprocess.run(
        command,
        env={"NIX_STATE_DIR": str(tmp_path), "NIX_STORE_DIR": str(tmp_path), "PATH": "/usr/bin"},
        capture_output=True,
        check=True,
        timeout=600,
    )
    assert json.loads(said.stdout) == {name: name for name in ("ams3-0", "ams3-1", "sgp1-0")}


def test_ansible_has_a_group_for_each_region() -> None:
    inventory = yaml.safe_load(outputs.ansible(MEMBERS, CONFIG))
    assert list(inventory) == ["all"]
    assert inventory["all"]["vars"] == {"ansible_ssh_common_args": "-F '.e3/a stack/ssh_config'"}
    groups = inventory["all"]["children"]
    assert {name: list(group["hosts"]) for name, group in groups.items()} == {
        "ams3": ["ams3-0", "ams3-1"],
        "sgp1": ["sgp1-0"],
    }
    assert groups["sgp1"]["hosts"]["sgp1-0"] == {
        "e3_underlay": "pi.example.org",
        "e3_overlay": "10.77.0.3",
        "e3_python": "python3",
        "e3_pid": 0,
    }
    assert "e3_pid" not in groups["ams3"]["hosts"]["ams3-1"]


@pytest.mark.skipif(shutil.which("ansible-inventory") is None, reason="needs Ansible")
def test_ansible_reads_the_inventory(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text(outputs.ansible(MEMBERS, CONFIG))
    said = subprocess.run(
        ["ansible-inventory", "-i", str(tmp_path / "hosts.yaml"), "--list"],
        capture_output=True,
        check=True,
        timeout=600,
    )
    listed = json.loads(said.stdout)
    assert listed["ams3"]["hosts"] == ["ams3-0", "ams3-1"]
    known = listed["_meta"]["hostvars"]["sgp1-0"]
    assert known["ansible_ssh_common_args"] == "-F '.e3/a stack/ssh_config'"


def test_dns_has_a_record_for_each_address() -> None:
    records = [line.split() for line in outputs.dns(MEMBERS).splitlines()]
    assert {(name, kind, target) for name, _, _, kind, target in records} == {
        ("ams3-0", "A", "198.18.0.2"),
        ("ams3-1", "AAAA", "2001:db8::2"),
        ("sgp1-0", "CNAME", "pi.example.org."),
        ("ams3-0.overlay", "A", "10.77.0.1"),
        ("ams3-1.overlay", "AAAA", "fd77::2"),
        ("sgp1-0.overlay", "A", "10.77.0.3"),
    }
    assert {(ttl, name) for _, ttl, name, _, _ in records} == {("300", "IN")}
    for *_, kind, target in records:
        if kind != "CNAME":
            assert ipaddress.ip_address(target)


@pytest.mark.skipif(shutil.which("named-checkzone") is None, reason="needs BIND's tools")
def test_bind_reads_the_zone(tmp_path: Path) -> None:
    zone = tmp_path / "zone"
    head = "$TTL 60\n@ IN SOA ns.example.com. a.example.com. 1 2 3 4 5\n@ IN NS ns.example.net.\n"
    zone.write_text(f"{head}{outputs.dns(MEMBERS)}\n")
    subprocess.run(["named-checkzone", "e3.example.com", str(zone)], check=True, timeout=600)


def test_a_host_without_a_party_is_described_as_such() -> None:
    assert outputs.describe(MEMBERS)[1] == {
        "name": "ams3-1",
        "region": "ams3",
        "underlay": "2001:db8::2",
        "overlay": "fd77::2",
        "pid": None,
    }


@pytest.mark.parametrize(
    "evil", ["a\nb 3 IN A 1.2.3.4", "{{ lookup('pipe', 'id') }}", "a\x1b", "a b"]
)
def test_what_a_list_would_read_as_its_syntax_is_refused(evil: str) -> None:
    with pytest.raises(HostError, match="cannot be written into the lists of hosts"):
        member("ams3-0", evil, "10.77.0.1", 0)
    with pytest.raises(HostError, match="cannot be written into the lists of hosts"):
        member("ams3-0", "198.18.0.2", evil, 0)
    python = replace(host("ams3-0", "198.18.0.2"), python=f"/opt/{evil}")
    if evil != "a b":  # a folder may have spaces
        with pytest.raises(HostError, match="cannot be written into the lists of hosts"):
            outputs.HostOutput(host=python, overlay="10.77.0.1", pid=0)


PATHS = [
    {"from": "ams3-0", "to": "sgp1-0", "class": "direct", "rtt_ms": 165.213},
    {
        "from": "sgp1-0",
        "to": "ams3-0",
        "class": "relayed",
        "rtt_ms": 0.0,
        "by": "a relay; of = theirs",
        "class_after": "relayed",
        "by_after": "ams3-1",
    },
]


@pytest.mark.parametrize("paths", [[], PATHS[:1], PATHS])
def test_the_paths_of_a_session_are_one_line_that_reads_back(
    paths: list[dict[str, object]],
) -> None:
    said = outputs.session({"verdict": "completed", "paths": paths})
    assert said["verdict"] == "completed"
    assert "\n" not in said["paths"]
    assert outputs.read_paths(said["paths"]) == paths
    assert yaml.safe_load(said["paths"] or '""') == said["paths"]  # Pulumi shows YAML in its parts


def test_the_paths_of_a_session_are_read_with_the_tools_of_a_shell() -> None:
    line = outputs.session({"paths": PATHS})["paths"]
    script = "tr ';' '\\n' | awk '$3 == \"relayed\" { print $1, $2, $4 }'"
    done = subprocess.run(
        ["sh", "-c", script], input=line, capture_output=True, text=True, check=True
    )
    assert done.stdout == "sgp1-0 ams3-0 0.0\n"
