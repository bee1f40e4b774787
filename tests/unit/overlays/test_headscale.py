"""Headscale: choice of the server, policy, paths as read, and options that are refused."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from e3.errors import ConfigurationError, OverlayError
from e3.experiment import Choice
from e3.overlays import OVERLAYS
from e3.overlays.tailscale.headscale import Headscale, Memory, choose_server
from e3.overlays.tailscale.headscale_configuration import policy
from e3.overlays.tailscale.status import Greeted, Node, Peer, Status, decode, read_paths, read_pongs
from e3.overlays.tailscale.tailscale import Tailscale
from e3.paths import PathClass, Relayed
from e3.registry import build
from tests.hosts import host


def test_the_policy_admits_the_stacks_hosts_to_session_ports_alone() -> None:
    (rule,) = msgspec.convert(policy(), dict[str, list[dict[str, object]]])["acls"]
    assert rule == {
        "action": "accept",
        "proto": "tcp",
        "src": ["*"],
        "dst": ["*:11299,11365-21364"],
    }


def test_the_server_stays_where_it_is() -> None:
    hosts = [host("ams3-0", "198.18.0.2"), host("nyc3-0", "198.18.4.2")]
    before = Memory(server="nyc3-0")
    assert choose_server(hosts, before).name == "nyc3-0"
    assert choose_server(hosts[:1], before).name == "ams3-0"


def test_a_client_is_told_the_servers_address_of_its_own_kind() -> None:
    server = replace(host("ams3-0", "198.18.0.2"), underlay6="2001:db8::2")
    for client, url in (
        ("172.16.0.2", "https://198.18.0.2:443"),
        ("2001:db8::9", "https://[2001:db8::2]:443"),
    ):
        assert Headscale().url(server, host("sgp1-0", client)) == url


def test_a_fleet_without_a_public_host_is_refused() -> None:
    with pytest.raises(OverlayError, match="control server and relay, and this fleet has none"):
        choose_server([], Memory())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": 0}, "port is 0; write a number from 1 to 65535"),
        ({"control_port": 70_000}, "control-port is 70000; write a number from 1 to 65535"),
        ({"stun_port": 41_641}, "stun-port, port must differ"),
        ({"key_minutes": 61}, "key-minutes is 61; write a number from 1 to 60"),
        ({"derp": 1}, "headscale has no option 'derp'; it has: control-port, stun-port"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        build(OVERLAYS, Choice(name="headscale", options=options), key="overlay")


IDLE = {"Active": False, "LastHandshake": "0001-01-01T00:00:00Z"}
BUSY = {"Active": True, "LastHandshake": "2026-11-21T12:55:01.5+00:00"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({**BUSY, "CurAddr": "198.18.0.3:41641"}, "direct", id="direct"),
        pytest.param({**BUSY, "CurAddr": ""}, Relayed(by="ams3-0"), id="relayed"),
        pytest.param({**BUSY, "CurAddr": "", "PeerRelay": "1.2.3.4:7"}, Relayed(by="1.2.3.4:7")),
        pytest.param({**BUSY, **IDLE, "Active": True, "CurAddr": ""}, None, id="no-answer-yet"),
        pytest.param({**IDLE, "CurAddr": ""}, None, id="idle"),
    ],
)
def test_paths_by_a_clients_status(
    said: dict[str, object], expected: PathClass | Relayed | None
) -> None:
    peer = {"TailscaleIPs": ["100.64.0.2"], "Relay": "ams3-0", **said}
    known = msgspec.convert(peer, Peer)
    assert read_paths([known]) == ({"100.64.0.2": expected} if expected else {})


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("pong from b (100.64.0.2) via 198.18.4.2:41641 in 4ms\n", "direct"),
        ("pong from b (100.64.0.2) via DERP(ams3-0) in 12ms\n", Relayed(by="ams3-0")),
        (
            "pong from b (1.2.3.4) via DERP(x) in 9ms\npong from b (1.2.3.4) via 1:2 in 1ms\n",
            "direct",
        ),
        ("ping timed out\nno reply\n", "none"),
    ],
)
def test_paths_by_pings(said: str, expected: PathClass | Relayed) -> None:
    assert read_pongs(said) == expected


def test_tailscale_without_a_key_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    overlay = Tailscale(auth_key_file=str(tmp_path / "key"))
    with pytest.raises(ConfigurationError, match=r"auth-key-file is .*: No such file.* headscale"):
        overlay.assign(["ams3-0"], None)
    (tmp_path / "key").write_text("\n")
    with pytest.raises(ConfigurationError, match="which is empty"):
        overlay.assign(["ams3-0"], None)
    (tmp_path / "key").write_text("tskey-auth-x\n")
    assert overlay.assign(["ams3-0"], None) == {}


def test_tailscale_asks_its_control_server_over_tls() -> None:
    with pytest.raises(ConfigurationError, match="control-url is 'http://x'; write an https://"):
        Tailscale(control_url="http://x")


ASKED = host("ams3-0", "198.18.0.2")


def test_a_status_without_a_login_has_neither_identity_nor_address() -> None:
    said = decode(ASKED, "tailscaled", b'{"BackendState": "NeedsLogin", "Self": {}}', Status)
    assert said.known
    assert not said.logged_in
    with pytest.raises(OverlayError, match="gave host  no IPv4 address"):
        said.address  # noqa: B018 - it raises


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(b"[]", Status, id="another-type"),
        pytest.param(b"{", Status, id="cut"),
        pytest.param(b"\xff", Status, id="no-text"),
        pytest.param(b"[" * 100_000, Status, id="nested"),
        pytest.param(b'{"BackendState": 3}', Status, id="state-is-a-number"),
        pytest.param(b'{"Self": {"TailscaleIPs": "1.2.3.4"}}', Status, id="address-is-no-list"),
        pytest.param(b'{"Self": {"TailscaleIPs": [1]}}', Status, id="address-is-a-number"),
        pytest.param(b'{"Self": {"ID": "' + b"x" * 1_001 + b'"}}', Status, id="long-id"),
        pytest.param(b'{"Peer": {"k": {"Active": "yes"}}}', Status, id="active-is-a-text"),
        pytest.param(b'{"Peer": [["ams3-0"]]}', Greeted, id="name-is-a-list"),
        pytest.param(b'[{"id": "1; rm", "node_key": "k"}]', list[Node], id="id-is-a-text"),
        pytest.param(b'[{"id": 1}]', list[Node], id="no-key"),
    ],
)
def test_an_answer_of_another_form_is_an_error_of_its_host(answer: bytes, kind: type) -> None:
    with pytest.raises(OverlayError, match="tailscaled on host ams3-0 gives an answer that cannot"):
        decode(ASKED, "tailscaled", answer, kind)
