"""Every mistake in a stack's configuration is named with its key, before anything is made."""

import json
from pathlib import Path

import pytest

from e3.config import KEYS, parse
from e3.errors import ConfigurationError, E3Error
from e3.experiment import Choice
from e3.nats import CLASSES
from e3.overlays import OVERLAYS
from e3.registry import build

PROGRAM = "demos/helloworld.py"

MISTAKES = {
    "unknown key": ({"programm": "x"}, "e3:programm: unknown key; choose one of args,"),
    "no mapping": ({"regions": "ams3"}, "e3:regions: 'ams3' is not a mapping"),
    "list": ({"regions": "[1]"}, "e3:regions: '[1]' is not a mapping"),
    "no hosts": ({"regions": '{"ams3": 0}'}, "e3:regions: ams3 has 0 hosts"),
    "negative hosts": ({"regions": '{"ams3": -1}'}, "e3:regions: ams3 has -1 hosts"),
    "half a host": ({"regions": '{"ams3": 1.5}'}, "e3:regions: ams3 has 1.5 hosts"),
    "true hosts": ({"regions": '{"ams3": true}'}, "e3:regions: ams3 has True hosts"),
    "too many hosts": ({"regions": '{"ams3": 1001}'}, "e3:regions: ams3 has 1001 hosts"),
    "no region": ({"regions": "{}"}, "e3:regions: 0 regions"),
    "region name": ({"regions": '{"ams-3": 1}'}, "e3:regions: 'ams-3' is not a region name"),
    "long name": (
        {"regions": '{"amsterdamnoord": 1}'},
        "host name amsterdamnoord-0 is longer than the 15 characters",
    ),
    "more parties than hosts": (
        {"regions": '{"ams3": 2}', "parties": "3"},
        "e3:parties: 3 parties need as many hosts, but e3:regions makes 2",
    ),
    "half a party": ({"parties": "1.5"}, "e3:parties: '1.5' is not a whole number"),
    "deadline": ({"deadline-seconds": "0"}, "e3:deadline-seconds: '0' is not a number of at least"),
    "deadline text": ({"deadline-seconds": "soon"}, "e3:deadline-seconds: 'soon' is not a number"),
    "endless deadline": ({"deadline-seconds": "inf"}, "e3:deadline-seconds: 'inf' is not a number"),
    "comparison": ({"compare": "all"}, "e3:compare: unknown value 'all'; choose one of none, same"),
    "limit": ({"limits": '{"memory": 1}'}, "e3:limits: unknown limit 'memory'; choose one of con"),
    "no limit": (
        {"limits": '{"memory-mb": 0}'},
        "e3:limits: memory-mb is 0; write a number from 1",
    ),
    "half a process": (
        {"limits": '{"processes": 1.5}'},
        "e3:limits: processes is 1.5; write a whole",
    ),
    "network": ({"network": "none"}, "e3:network: unknown value 'none'; choose one of peers, open"),
    "type": ({"unpickle": '["Ballot"]'}, "e3:unpickle: '[\"Ballot\"]' is not a list of types"),
    "types": ({"unpickle": "__main__.Ballot"}, "e3:unpickle: '__main__.Ballot' is not a list"),
    "latency region": (
        {"latency-ms": '{"ams3-mars1": 5}'},
        "e3:latency-ms: 'ams3-mars1' names the region 'mars1'",
    ),
    "latency value": ({"latency-ms": '{"ams3-nyc3": -1}'}, "e3:latency-ms: ams3-nyc3 is -1"),
    "latency text": ({"latency-ms": '{"all": "0"}'}, "e3:latency-ms: all is '0'"),
    "nat of nobody": (
        {"regions": '{"ams3": 2}', "nats": '{"ams3-2": "symmetric"}'},
        "e3:nats: 'ams3-2' is neither a region nor a host of e3:regions; write one of ams3, or",
    ),
    "nat class": (
        {"nats": '{"ams3": "double"}'},
        "e3:nats: ams3 is 'double'; choose one of public, full-cone, address-restricted, port-",
    ),
    "nat list": ({"nats": '{"ams3": ["cgnat"]}'}, "e3:nats: ams3 is ['cgnat']; choose one of"),
    "nat property": (
        {"nats": '{"ams3": {"mtu-bytes": 1}}'},
        "e3:nats: ams3: mtu-bytes is 1; write a number from 1280 to 1500",
    ),
    "different homes": (
        {"nats": '{"ams3": {"shared": "flat"}, "ams3-1": {"like": "home", "shared": "flat"}}'},
        "e3:nats: ams3-0 and ams3-1 share 'flat', but their NATs differ",
    ),
    "crowded home": (
        {"regions": '{"ams3": 6}', "nats": '{"ams3": {"shared": "flat"}}'},
        "e3:nats: 6 hosts share 'flat'; a NAT has room for 5",
    ),
    "link": ({"links": '{"ams3-mars": {}}'}, "e3:links: 'ams3-mars' is neither all nor two of"),
    "quotes": ({"args": "--bids '5"}, 'e3:args: "--bids \'5" cannot be split'),
    "no program": ({"program": "demos/nosuch.py"}, "demos/nosuch.py"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_names_key_value_and_remedy(mistake: str) -> None:
    values, message = MISTAKES[mistake]
    with pytest.raises(E3Error) as caught:
        parse("dev", {"program": PROGRAM, **values})
    assert message in str(caught.value)


def test_defaults_are_the_original_deployment() -> None:
    experiment = parse("dev", {"program": PROGRAM})
    assert experiment.host_names == ("ams3-0", "ams3-1", "ams3-2", "nyc3-0", "sfo3-0", "sgp1-0")
    assert experiment.session.parties == len(experiment.host_names)
    assert experiment.folder == Path(".e3/dev")
    assert experiment.overlay.name == "nebula"


def test_declared_keys_are_the_keys_that_are_read() -> None:
    declared = {
        line.strip().removeprefix("e3:").removesuffix(":")
        for line in Path("Pulumi.yaml").read_text().splitlines()
        if line.startswith("  e3:")
    }
    assert declared == set(KEYS)


def test_latency_of_all_pairs_yields_to_a_pair() -> None:
    latency = json.dumps({"nyc3-ams3": 90, "all": 0})
    regions = json.dumps({"nyc3": 1, "ams3": 1})
    experiment = parse("dev", {"program": PROGRAM, "latency-ms": latency, "regions": regions})
    assert experiment.latency_ms == {
        ("ams3", "ams3"): 0.0,
        ("ams3", "nyc3"): 90.0,
        ("nyc3", "nyc3"): 0.0,
    }


def test_the_nat_of_a_host_goes_before_that_of_its_region() -> None:
    regions = json.dumps({"ams3": 3, "sgp1": 1})
    nats = json.dumps({"ams3": "port-restricted", "ams3-1": "public", "ams3-2": "ipv6-only"})
    experiment = parse("dev", {"program": PROGRAM, "regions": regions, "nats": nats})
    assert experiment.nats == {
        "ams3-0": CLASSES["port-restricted"],
        "ams3-2": CLASSES["ipv6-only"],
    }
    assert experiment.reachability == {
        "ams3-0": "port-restricted",
        "ams3-1": "public",
        "ams3-2": "ipv6-only",
        "sgp1-0": "public",
    }


def test_arguments_are_split_as_a_shell_would() -> None:
    experiment = parse("dev", {"program": PROGRAM, "args": "--name 'a b' -n3"})
    assert experiment.program.args == ("--name", "a b", "-n3")


WRONG_CHOICES = {
    "name": (Choice(name="nebulla"), "e3:overlay: unknown value 'nebulla'; choose one of "),
    "option": (
        Choice(name="nebula", options={"rang": "10.0.0.0/8"}),
        "e3:overlay-options: nebula has no option 'rang'; it has: range, port, mtu",
    ),
    "no options": (
        Choice(name="plain", options={"x": 1}),
        "e3:overlay-options: plain has no option 'x'; it has: none",
    ),
    "type": (
        Choice(name="nebula", options={"certificate_days": "ten"}),
        "e3:overlay-options: certificate-days is 'ten': expected `float`, got `str`",
    ),
    "limit": (
        Choice(name="nebula", options={"port": 70000}),
        "e3:overlay-options: port is 70000; write a number from 1 to 65535",
    ),
    "range": (
        Choice(name="nebula", options={"range": "10.77.0.1/16"}),
        "e3:overlay-options: range is '10.77.0.1/16': 10.77.0.1/16 has host bits set",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_CHOICES, ids=str)
def test_a_wrong_overlay_or_option_lists_the_choices(wrong: str) -> None:
    choice, message = WRONG_CHOICES[wrong]
    with pytest.raises(ConfigurationError) as caught:
        build(OVERLAYS, choice, key="overlay")
    assert message in str(caught.value)


def test_the_rules_of_sessions() -> None:
    rules = parse(
        "s",
        {
            "program": PROGRAM,
            "compare": "same",
            "limits": '{"memory-mb": 100, "connect-seconds": 2.5}',
            "unpickle": '["__main__.Ballot"]',
        },
    ).session.rules
    assert rules.compare == "same"
    assert (rules.limits.memory_mb, rules.limits.connect_seconds) == (100, 2.5)
    assert rules.limits.files_mb == 256
    assert rules.unpickle == ("__main__.Ballot",)
    assert rules.network == "peers"
    assert parse("s", {"program": PROGRAM, "network": "open"}).session.rules.network == "open"
