"""WireGuard's configuration as data: who is whose peer, at which addresses."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from e3.errors import ConfigurationError, OverlayError
from e3.experiment import Choice
from e3.overlays import OVERLAYS
from e3.overlays.wireguard import WireGuard, dials
from e3.registry import build
from tests.hosts import host

CASES = sorted(Path("tests/cases/wireguard").glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_configuration(path: Path) -> None:
    case = json.loads(path.read_text())
    hosts = [
        replace(host(name, underlay), reachability=reachability)
        for name, (underlay, reachability) in case["hosts"].items()
    ]
    overlay = msgspec.convert(case["options"], WireGuard)
    given = overlay.assign([each.name for each in hosts], None)
    keys = {each.name: f"{each.name}/key=" for each in hosts}
    for each in hosts:
        files = overlay.render(each, hosts, given, keys)
        for name, lines in case["expected"].get(each.name, {}).items():
            assert files[name].splitlines() == lines, f"{each.name}: {name}"
        dialled = [peer.name for peer in hosts if dials(each, peer, given)]
        assert dialled == case["dials"][each.name]


def test_of_each_pair_exactly_one_begins() -> None:
    hosts = [host(f"ams3-{i}", f"198.18.0.{i + 2}") for i in range(5)]
    given = WireGuard().assign([each.name for each in hosts], None)
    assert all(
        dials(one, other, given) != dials(other, one, given)
        for one in hosts
        for other in hosts
        if one != other
    )


def test_no_secret_is_rendered() -> None:
    hosts = [host("ams3-0", "198.18.0.2"), host("nyc3-0", "198.18.4.2")]
    overlay = WireGuard(psk=True)
    given = overlay.assign([each.name for each in hosts], None)
    files = overlay.render(hosts[0], hosts, given, {"ams3-0": "A=", "nyc3-0": "B="})
    secrets = [
        line for line in files["peers.conf"].splitlines() if "Private" in line or "Pre" in line
    ]
    assert secrets == [
        "PrivateKey = /var/lib/e3/wireguard/host.key",
        "PresharedKey = /var/lib/e3/wireguard/psk/B=",
    ]


def test_without_a_public_host_says_so() -> None:
    hidden = [replace(host("ams3-0", "10.1.0.2"), reachability="symmetric")]
    with pytest.raises(OverlayError, match="make one host public or choose"):
        WireGuard().render(hidden[0], hidden, {"ams3-0": "10.78.0.1"}, {"ams3-0": "A="})


@pytest.mark.parametrize(
    ("option", "value"),
    [("port", 70_000), ("mtu", 100), ("keepalive", 0), ("psk", "yes"), ("range", "10.78.0.1/16")],
)
def test_an_option_out_of_range_is_named(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"e3:overlay-options: {option} is"):
        build(OVERLAYS, Choice(name="wireguard", options={option: value}), key="overlay")
