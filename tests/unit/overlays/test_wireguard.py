"""How WireGuard on a host is configured, and with which peers."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from e3.errors import ConfigurationError
from e3.experiment import Choice
from e3.interfaces import Host
from e3.overlays import OVERLAYS
from e3.overlays.unit import Members, script
from e3.overlays.wireguard import Memory, WireGuard
from e3.registry import build
from tests.hosts import host


def peers(overlay: WireGuard, hosts: Sequence[Host], keys: Mapping[str, str]) -> str:
    """Return the peers in the first host's configuration of WireGuard."""
    given = overlay.assign([each.name for each in hosts], None)
    members = Members(hosts=hosts, addresses=given, public=keys, memory=Memory())
    (unit,) = overlay.plan(hosts[0], members)
    files = {file.path.rpartition("/")[2]: file.content.decode() for file in unit.files}
    return files["peers.conf"]


def test_no_secret_is_rendered() -> None:
    hosts = [host("ams3-0", "198.18.0.2"), host("nyc3-0", "198.18.4.2")]
    told = peers(WireGuard(psk=True), hosts, {"ams3-0": "A=", "nyc3-0": "B="})
    secrets = [line for line in told.splitlines() if "Private" in line or "Pre" in line]
    assert secrets == [
        "PrivateKey = /var/lib/e3/wireguard/host.key",
        "PresharedKey = /var/lib/e3/wireguard/psk/B=",
    ]


def news(folder: Path, only: str) -> str:
    (folder / "wireguard.awk").write_text(script("wireguard.awk"))
    argv = ["awk", "-v", f"only={only}", "-f", "wireguard.awk", "peers.conf"]
    return subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_wireguard_is_told_of_what_is_new_alone(tmp_path: Path) -> None:
    hosts = [host(f"ams3-{i}", f"198.18.0.{i + 2}") for i in range(4)]
    keys = {each.name: f"{each.name}/key=" for each in hosts}
    given = WireGuard().assign([each.name for each in hosts], None)
    before = peers(WireGuard(), hosts[:3], keys)
    moved = [hosts[0], replace(hosts[2], underlay="198.18.0.9"), hosts[3]]
    members = Members(hosts=moved, addresses=given, public=keys, memory=Memory())
    (unit,) = WireGuard().plan(hosts[0], members)
    (after,) = (f.content.decode() for f in unit.files if f.path.endswith("/peers.conf"))
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
    for psk, shared in ((True, "shared"), (False, "A" * 43 + "=")):
        told = peers(WireGuard(psk=psk), hosts, {"ams3-0": "A", "nyc3-0": "B"})
        text = told.replace("/var/lib/e3/wireguard/", f"{tmp_path}/")
        (tmp_path / "peers.conf").write_text(text)
        (tmp_path / "host.key").write_text("own\n")
        (tmp_path / "psk").mkdir(exist_ok=True)
        (tmp_path / "psk" / "B").write_text("shared\n")
        keys = [line for line in news(tmp_path, "all").splitlines() if "Key = " in line]
        assert sorted(keys) == [
            f"PresharedKey = {shared}",
            "PrivateKey = own",
            "PublicKey = B",
        ]


@pytest.mark.parametrize(
    ("option", "value"),
    [("port", 70_000), ("mtu", 100), ("keepalive", 0), ("psk", "yes"), ("range", "10.78.0.1/16")],
)
def test_an_option_out_of_range_is_named(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"e3:overlay-options: {option} is"):
        build(OVERLAYS, Choice(name="wireguard", options={option: value}), key="overlay")
