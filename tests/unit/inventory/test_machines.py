"""The file that lists machines: what it means, and each mistake with its place."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from e3 import config
from e3.errors import ConfigurationError
from e3.experiment import Experiment
from e3.fleets import FLEETS
from e3.inventory.machines import FORMS, Machine, from_properties, named, parse, read
from e3.nats import CLASSES
from e3.registry import build

pytestmark = pytest.mark.unit

LISTED = """
defaults: {user: pi, key: KEY}
hosts:
  - {host: office, region: work, reachability: symmetric, address: 198.18.0.9}
  - {host: attic, address: 192.168.1.11, host-key: ssh-ed25519 AAAA}
  - {host: cellar.lan, port: 2222, user: root, system: armv7l-linux}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    key = tmp_path / "key"
    key.touch()
    path = tmp_path / "hosts.yaml"
    path.write_text(LISTED.replace("KEY", str(key)))
    return path


def parsed(file: Path, **values: str) -> Experiment:
    options = json.dumps({"file": str(file)})
    given = {"fleet": "inventory", "fleet-options": options, "program": "demos/helloworld.py"}
    return config.parse("trial", {**given, **values})


def test_machines_are_named_by_region_in_the_order_of_the_file(file: Path) -> None:
    machines = named(read(file))
    assert {name: machine.host for name, machine in machines.items()} == {
        "home-0": "attic",
        "home-1": "cellar.lan",
        "work-0": "office",
    }
    assert machines["home-1"].user == "root"
    assert machines["home-0"].user == "pi"


def test_the_experiment_follows_from_the_file(file: Path) -> None:
    experiment = parsed(file)
    assert experiment.regions == {"home": 2, "work": 1}
    assert experiment.nats == {"work-0": CLASSES["symmetric"]}
    build(FLEETS, experiment.fleet, key="fleet").check(experiment)


def test_a_machine_survives_being_kept_in_state(file: Path) -> None:
    for machine in read(file):
        properties = machine.to_properties()
        if "port" in properties:
            properties["port"] = float(properties["port"])
        assert from_properties(properties) == machine
        assert from_properties(json.loads(json.dumps(properties))) == machine
    assert Machine(host="x").to_properties() == {"host": "x"}


LAUGHS = "a0: &a0 [" + "x," * 10 + "]\n"
LAUGHS += "".join(f"a{i}: &a{i} [" + f"*a{i - 1}," * 10 + "]\n" for i in range(1, 10))
MISTAKES = {
    "[]": "lists no machine",
    "hosts: 3": "lists no machines; write `hosts:`",
    "hosts: [a]": "'a' is no machine",
    "hosts: [{}]": "host ?: Object missing required field host",
    "hosts: [{host: a, colour: red}]": "host a: unknown key 'colour'; choose one of host, address",
    "hosts: [{host: a, port: ssh}]": "host a: Expected int | null, got str: port",
    "hosts: [{host: a, port: 70000}]": "host a: port 70000 is not between 1 and 65535",
    "hosts: [{host: a, sudo: 'yes'}]": "host a: Expected bool | null, got str: sudo",
    "hosts: [{host: a, system: sparc}]": "host a: Invalid enum value 'sparc': system",
    "hosts: [{host: a, reachability: near}]": "host a: Invalid enum value 'near': reachability",
    "hosts: [{host: a, reachability: ipv6-only}]": "host a: reachability ipv6-only is for labs",
    "hosts: [{host: a, reachability: http-proxy}]": "host a: reachability http-proxy is for labs",
    "hosts: [{host: a, region: At Home}]": "region 'At Home' is not allowed there; use small",
    "hosts: [{host: a, underlay: b}]": "underlay 'b' is not allowed there; use an IP address",
    "hosts: [{host: a, underlay: ab}]": "host a: 'ab' does not appear to be an IPv4",
    "hosts: [{host: a, address: '[fd00::1]'}]": "host a: address '[fd00::1]' is not allowed there",
    "hosts: [{host: a, python: 'p; reboot'}]": "host a: python 'p; reboot' is not allowed there",
    "hosts: [{host: a, host-key: AAAA}]": "use one public key: its type, a space and its base64",
    "hosts: [{host: a, key: '~/${X}'}]": "use no quotes, backslashes or ${",
    "hosts: [{host: a, port: 99999999999999999999999}]": "999 is not between 1 and 65535",
    "hosts: [{host: a, host: b}]": "line 1: 'host' is said twice; remove one",
    "hosts: [{host: 5, 7: 8}]": "host 5: unknown key '7'; choose one of",
    "{7: 8, hosts: [{host: a}]}": "unknown key '7'",
    "hosts: [{host: 2020-13-45}]": "month must be in 1..12",
    "hosts: [{host: a, port: " + "9" * 5000 + "}]": "is not YAML: Exceeds the limit",
    "[" * 5000: "is not YAML, line 1: it is nested too deep",
    'hosts: [{host: "a\\ud800"}]': "line 1: a character is half",
    "hosts: &a [*a]": "line 1: a value contains itself",
    "hosts: !!python/object/apply:os.system [id]": "could not determine a constructor",
    "hosts: [{host: a\x00}]": "is not YAML",
    LAUGHS + "hosts: *a9": "line 5: aliases make more than 100000 values of this",
    LAUGHS + "hosts: [{host: *a9}]": "line 5: aliases make more than 100000 values of this",
    "hosts: [" + "{host: a}," * 1001 + "]": "lists more than 1000 machines",
    "hosts: [{host: a, address: b, ssh-config: c}]": "address is in ssh-config already",
    "hosts: [{host: a}, {host: a}]": "lists host 'a' twice",
    "colours: []\nhosts: [{host: a}]": "unknown key 'colours'",
    "hosts: [": "is not YAML, line 1",
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: text[:60])
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hosts.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    assert MISTAKES[text] in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("field", FORMS)
@pytest.mark.parametrize(
    "evil",
    [
        *(
            "pi\n  ProxyCommand touch /tmp/x",
            "a\rb",
            "a\x00",
            "a\x1b[1m",
            "a\u2028b",
            "a\u202eb",
            "\n",
        ),
        *('"', "'", "`id`", 'x" y', "a\\b", "-oProxyCommand=x", "--", "${HOME}"),
        "x" * 20_000,
    ],
)
def test_no_field_takes_what_is_syntax_elsewhere(field: str, evil: str) -> None:
    good = "ssh-ed25519 AAAA" if field == "host_key" else "a"
    for value in (evil, f"{good}{evil}") if evil[0] != "-" else (evil,):
        listed = {"host": "a", field.replace("_", "-"): value}
        with pytest.raises(ConfigurationError, match="is not allowed there; use") as caught:
            parse([listed], "hosts.yaml")
        assert len(str(caught.value)) < 1000
        assert str(caught.value).isprintable()
        with pytest.raises(msgspec.ValidationError):  # also of a state
            from_properties({"host": "a", field: value})


def test_a_missing_file_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"hosts\.yaml cannot be read \(No such file"):
        parsed(tmp_path / "hosts.yaml")


def test_what_the_file_leads_to_must_be_there(file: Path) -> None:
    experiment = parsed(file)
    fleet = build(FLEETS, experiment.fleet, key="fleet")
    (file.parent / "key").unlink()
    with pytest.raises(ConfigurationError, match=r"host attic \(home-0\): key \S+ does not exist"):
        fleet.check(experiment)
    (file.parent / "key").touch()
    with pytest.raises(ConfigurationError, match="lists other hosts than e3:regions"):
        fleet.check(replace(experiment, regions={"ams3": 3}, nats={}))
    with pytest.raises(ConfigurationError, match="write it there as reachability"):
        fleet.check(parsed(file, nats='{"home-0": "cgnat"}'))
    with pytest.raises(ConfigurationError, match="e3:links: only the lab's links"):
        fleet.check(parsed(file, links='{"home-work": {"loss": 0.1}}'))


def test_a_list_alone_is_a_file_too() -> None:
    assert parse([{"host": "a"}], "x") == (Machine(host="a"),)
