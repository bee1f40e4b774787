"""Lists that people have, as machines."""

from pathlib import Path

import pytest
import yaml

from e3.errors import ConfigurationError
from e3.inventory import imports
from e3.inventory.machines import Machine, parse
from tests.commands import private

pytestmark = pytest.mark.unit

INI = """
# a comment
lonely ansible_host=192.0.2.9

[attic]
pi[01:02].lan ansible_user=pi   # both
db-[a:b] ansible_port=2222 ansible_host=192.0.2.3

[office-2]
desk ansible_become=true

[pis:children]
attic

[pis:vars]
ansible_ssh_private_key_file = ~/.ssh/pis

[all:vars]
ansible_user=admin
ansible_python_interpreter=auto_silent
"""
YAML = """
all:
  vars: {ansible_user: admin}
  hosts:
    lonely:
  children:
    attic:
      vars: {ansible_port: 2222, ansible_python_interpreter: /usr/bin/python3.12}
      hosts:
        pi[1:2]: {ansible_host: 192.0.2.1}
    office:
      children:
        desks: {hosts: {desk: {ansible_become: yes, ansible_user: me}}}
"""
SSH = """
Include more/*
Host gate inner !other
  HostName 192.0.2.1
Host="quoted"
Host *.lan * ?x
  User pi
Match host x
"""
COLMENA = """
{"ams3-0": {"deployment": {"targetHost": "192.0.2.1", "targetUser": null, "targetPort": 2222,
  "tags": ["ams3"]}, "nixpkgs": {"system": "x86_64-linux"}}}
"""
PSSH = """
# all of them
192.0.2.1
pi@attic.lan:2222
desk me
"""

KEY = "~/.ssh/pis"
CASES: dict[str, tuple[str, list[Machine]]] = {
    "ansible-ini": (
        INI,
        [
            Machine(host="lonely", address="192.0.2.9", user="admin"),
            Machine(host="desk", region="office2", user="admin", sudo=True),
            Machine(host="pi01.lan", region="attic", user="pi", key=KEY),
            Machine(host="pi02.lan", region="attic", user="pi", key=KEY),
            *(
                Machine(
                    host=name, region="attic", user="admin", key=KEY, port=2222, address="192.0.2.3"
                )
                for name in ("db-a", "db-b")
            ),
        ],
    ),
    "ansible-yaml": (
        YAML,
        [
            Machine(host="lonely", user="admin"),
            *(
                Machine(
                    host=name,
                    region="attic",
                    address="192.0.2.1",
                    port=2222,
                    user="admin",
                    python="/usr/bin/python3.12",
                )
                for name in ("pi1", "pi2")
            ),
            Machine(host="desk", region="desks", user="me", sudo=True),
        ],
    ),
    "colmena": (
        COLMENA,
        [
            Machine(
                host="ams3-0", address="192.0.2.1", port=2222, region="ams3", system="x86_64-linux"
            )
        ],
    ),
    "pssh": (
        PSSH,
        [
            Machine(host="192.0.2.1"),
            Machine(host="attic.lan", port=2222, user="pi"),
            Machine(host="desk", user="me"),
        ],
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_list_becomes_machines(tmp_path: Path, kind: str) -> None:
    text, machines = CASES[kind]
    path = tmp_path / "list"
    path.write_text(text)
    assert imports.guess(text) == kind
    assert sorted(imports.read(path), key=lambda m: m.host) == sorted(
        machines, key=lambda m: m.host
    )
    # what is rendered is read again as the same; equal addresses alone are refused there
    if kind not in {"ansible-ini", "ansible-yaml"}:
        assert list(parse(yaml.safe_load(imports.render(machines)), "x")) == machines


def test_aliases_of_ssh_become_machines(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(SSH)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a").write_text("Host included\n  Include none\n")
    assert imports.guess(SSH) == "ssh"
    found = imports.read(path)
    assert [machine.host for machine in found] == ["included", "gate", "inner", "quoted"]
    assert {machine.ssh_config for machine in found} == {str(path)}


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("", None, "lists no machines that pssh would know"),
        ("{x: {deployment: 3}}", None, "cannot be read as colmena"),
        ("[all:vars]\na=b", "ansible-ini", "lists no machines that ansible-ini would know"),
        ("a", "ansible-yaml", "cannot be read as ansible-yaml.*; name another --format, one of"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, text: str, kind: str | None, said: str) -> None:
    path = tmp_path / "list"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        imports.read(path, kind)


def test_the_command_writes_a_list_once(tmp_path: Path) -> None:
    e3 = private(tmp_path / "project")
    (tmp_path / "hosts").write_text(PSSH)
    printed = e3("inventory", "import", "hosts", cwd=tmp_path)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert "- host: attic.lan\n  port: 2222\n  user: pi\n" in printed.stdout
    written = e3("inventory", "import", "hosts", "--output", "hosts.yaml", cwd=tmp_path)
    assert written.stdout.startswith("3 machines are listed in ")
    assert (tmp_path / "hosts.yaml").read_text() == printed.stdout
    again = e3("inventory", "import", "hosts", "--output", "hosts.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists; remove it" in again.stderr
