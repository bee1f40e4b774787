"""WireGuard's configuration as data: who is whose peer, at which addresses."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from e3.errors import ConfigurationError, OverlayError
from e3.experiment import Choice
from e3.overlays import OVERLAYS
from e3.overlays.wireguard import NEWS, WireGuard, dials
from e3.registry import build
from tests.hosts import host

CASES = sorted(Path("tests/cases/wireguard").glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_configuration(path: Path) -> None:
    case = json.loads(path.read_text())
    hosts = [
        replace(
            host(name, underlay),
            reachability=reachability,
            underlay6=case.get("underlay6", {}).get(name, ""),
        )
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


def news(folder: Path, only: str) -> str:
    (folder / "news.awk").write_text(NEWS)
    argv = ["awk", "-v", f"only={only}", "-f", "news.awk", "peers.conf"]
    return subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_wireguard_is_told_of_what_is_new_alone(tmp_path: Path) -> None:
    hosts = [host(f"ams3-{i}", f"198.18.0.{i + 2}") for i in range(4)]
    given = WireGuard().assign([each.name for each in hosts], None)
    keys = {each.name: f"{each.name}/key=" for each in hosts}
    before = WireGuard().render(hosts[0], hosts[:3], given, keys)["peers.conf"]
    moved = [hosts[0], replace(hosts[2], underlay="198.18.0.9"), hosts[3]]
    after = WireGuard().render(hosts[0], moved, given, keys)["peers.conf"]
    (tmp_path / "peers.conf.applied").write_text(before)
    (tmp_path / "peers.conf").write_text(before)
    assert not news(tmp_path, "all") + news(tmp_path, "keys") + news(tmp_path, "gone")
    (tmp_path / "peers.conf").write_text(after)
    told = news(tmp_path, "all").splitlines()
    assert [line for line in told if line.startswith(("PublicKey", "Endpoint"))] == [
        f"PublicKey = {keys['ams3-2']}",
        "Endpoint = 198.18.0.9:51820",
        f"PublicKey = {keys['ams3-3']}",
        "Endpoint = 198.18.0.5:51820",
    ]
    assert news(tmp_path, "keys").splitlines() == [keys["ams3-2"], keys["ams3-3"]]
    assert news(tmp_path, "gone").splitlines() == [keys["ams3-1"]]


def test_secrets_are_read_on_the_host_and_unset_where_there_is_none(tmp_path: Path) -> None:
    hosts = [host("ams3-0", "198.18.0.2"), host("nyc3-0", "198.18.4.2")]
    given = WireGuard().assign([each.name for each in hosts], None)
    for psk, shared in ((True, "shared"), (False, "A" * 43 + "=")):
        rendered = WireGuard(psk=psk).render(hosts[0], hosts, given, {"ams3-0": "A", "nyc3-0": "B"})
        text = rendered["peers.conf"].replace("/var/lib/e3/wireguard/", f"{tmp_path}/")
        (tmp_path / "peers.conf").write_text(text)
        (tmp_path / "host.key").write_text("own\n")
        (tmp_path / "psk").mkdir(exist_ok=True)
        (tmp_path / "psk" / "B").write_text("shared\n")
        told = [line for line in news(tmp_path, "all").splitlines() if "Key = " in line]
        assert sorted(told) == [
            f"PresharedKey = {shared}",
            "PrivateKey = own",
            "PublicKey = B",
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
