"""Tor's configuration as data, and who carries a private network."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from e3.errors import ConfigurationError, OverlayError
from e3.experiment import Choice
from e3.interfaces import Ingress
from e3.overlays import OVERLAYS
from e3.overlays.relays import Relays, Roles
from e3.overlays.tor import Keys, Tor, render_gate
from e3.registry import build
from tests.hosts import host

CASES = sorted(Path("tests/cases/tor").glob("*.json"))
LINE = "DirAuthority e3 orport=9001 no-v2 v3ident=V3 198.18.0.2:9002 FP"
NAMES = ["ams3-0", "ams3-1", "nyc3-0", "sgp1-0"]
HOSTS = [host(name, f"198.18.{4 * i}.2") for i, name in enumerate(NAMES)]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_configuration(path: Path) -> None:
    case = json.loads(path.read_text())
    hosts = {name: host(name, underlay) for name, underlay in case["hosts"].items()}
    overlay = build(OVERLAYS, Choice(name="tor", options=case["options"]), key="overlay")
    assert isinstance(overlay, Tor)
    roles = Roles()
    if "carriers" in case:
        relays = Relays(hosts=overlay.relay_hosts, port=overlay.port)
        assert relays.choose(list(hosts.values()), []) == case["carriers"]
        roles = Roles(carriers=case["carriers"], line=LINE)
        first, last = hosts[roles.carriers[0]], hosts[roles.carriers[-1]]
        assert set(case["authority_has"]) <= set(relays.render(0, first, roles).splitlines())
        relay = relays.render(1, last, roles).splitlines()
        assert {*case["relay_has"], LINE} <= set(relay)
    torrc = set(overlay.render(roles).splitlines())
    assert set(case["has"]) <= torrc
    assert not set(case["has_not"]) & torrc


def test_who_carries_the_network_goes_on_while_it_is_there() -> None:
    relays = Relays(hosts=2, port=9001)
    assert relays.choose(HOSTS[:2], []) == ["ams3-0", "ams3-1"]
    assert relays.choose(HOSTS, []) == ["ams3-0", "nyc3-0"]
    assert relays.choose(HOSTS, ["ams3-0", "ams3-1"]) == ["ams3-0", "ams3-1"]
    assert relays.choose(HOSTS[1:], ["ams3-0", "nyc3-0"]) == ["nyc3-0", "ams3-1"]


def test_a_private_network_needs_a_public_host() -> None:
    behind = [replace(host("ams3-0", "192.168.0.2"), reachability="symmetric")]
    with pytest.raises(OverlayError, match="set network: public"):
        Relays(hosts=1, port=9001).choose(behind, [])


def test_a_firewall_lets_in_the_servers_of_a_private_network_alone() -> None:
    assert Tor(network="public").ingress() == ()
    assert Tor().ingress() == (Ingress(protocol="tcp", first=9001, last=9005),)


def test_each_pair_has_a_service_of_its_own() -> None:
    given = Tor().assign(NAMES[:2], None)
    assert given == {"ams3-0": "127.77.0.1", "ams3-1": "127.77.0.2"}
    keys = {
        "ams3-0": Keys(key="K0", services={"ams3-1": "zero-for-one"}),
        "ams3-1": Keys(key="K1", services={"ams3-0": "one-for-zero"}),
    }
    gate = render_gate("ams3-0", given, keys)
    assert gate["address"] == "127.77.0.1"
    assert gate["ports"] == [11_299, 11_365, 11_366]
    assert gate["peers"] == {
        "ams3-1": {"address": "127.77.0.2", "onion": "one-for-zero", "key": "K1"}
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"range": "10.77.0.0/16"}, r"range is '10\.77\.0\.0/16'; write a part of 127\.0\.0\.0/8"),
        ({"relay_hosts": 5}, "relay-hosts is 5"),
        ({"bridge": "192.0.2.1:443"}, "a private network has none; set network: public"),
        ({"network": "secret"}, "network is 'secret': invalid enum value"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        build(OVERLAYS, Choice(name="tor", options=options), key="overlay")
