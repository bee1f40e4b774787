"""Which hosts run a private Tor network, and which services each host has."""

import json
from dataclasses import replace

import pytest

from e3.errors import ConfigurationError, OverlayError
from e3.experiment import Choice
from e3.interfaces import Ingress
from e3.overlays import OVERLAYS
from e3.overlays.tor.network import Relays, Roles
from e3.overlays.tor.overlay import Tor, TorKeys
from e3.overlays.unit import Members
from e3.registry import build
from tests.hosts import host

NAMES = ["ams3-0", "ams3-1", "nyc3-0", "sgp1-0"]
HOSTS = [host(name, f"198.18.{4 * i}.2") for i, name in enumerate(NAMES)]


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
        "ams3-0": TorKeys(key="K0", services={"ams3-1": "zero-for-one"}),
        "ams3-1": TorKeys(key="K1", services={"ams3-0": "one-for-zero"}),
    }
    members = Members(hosts=HOSTS[:2], addresses=given, public=keys, memory=Roles())
    told, same = (
        file
        for unit in Tor().plan(HOSTS[0], members)
        for file in unit.files
        if file.path.endswith("/onion_proxy.json")
    )
    assert told == same  # one for the onion proxy, one for e3-tunnel
    configuration = json.loads(told.content)
    assert configuration["address"] == "127.77.0.1"
    assert configuration["ports"] == [11_299, 11_365, 11_366]
    assert configuration["peers"] == {
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
