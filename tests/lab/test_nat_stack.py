"""A stack whose hosts are behind NATs: its session, and what is refused before anything is made."""

import pytest

from e3.outputs import read_paths
from tests.stack import Stack

SANTA = "demos/secret_santa.py"
NATS = {"ams3-1": "port-restricted", "sgp1": "symmetric"}


def test_a_session_of_parties_behind_nats(stack: Stack) -> None:
    outputs = stack.brought_up(program=SANTA, nats=NATS)
    session = outputs["session"]
    assert session["verdict"] == "completed"
    # who can be reached from outside comes last, as the lower index dials
    assert [party["host"] for party in session["parties"]] == ["ams3-1", "sgp1-0", "ams3-0"]
    underlay = {host["name"]: host["underlay"].partition(".")[0] for host in outputs["hosts"]}
    assert underlay == {"ams3-0": "198", "ams3-1": "172", "sgp1-0": "172"}
    relayed = [path for path in read_paths(session["paths"]) if path["class"] == "relayed"]
    assert {(path["from"], path["to"]) for path in relayed} == {
        ("ams3-1", "sgp1-0"),
        ("sgp1-0", "ams3-1"),
    }
    assert {path["by"] for path in relayed} == {"ams3-0"}
    assert {path["by_after"] for path in relayed} == {"ams3-0"}
    assert session["notes"] == []
    joined = next(r for kind, r in stack.resources.items() if kind.startswith("e3:Overlay"))
    for path in joined["outputs"]["paths"]:
        contact, direct = path["contact_seconds"], path.get("direct_seconds")
        assert 0 < contact < joined["outputs"]["settledSeconds"]
        assert (direct is None) == (path["path_class"] == "relayed")
        assert direct is None or direct > contact


def test_what_the_overlay_cannot_join_is_refused_and_nothing_changes(stack: Stack) -> None:
    before = stack.resources
    plain = stack.up(program=SANTA, nats=NATS, overlay="plain")
    assert plain.exit != 0
    assert "e3:nats: neither of ams3-1 (port-restricted) and sgp1-0 (symmetric) can" in plain.said
    modern = stack.up(program=SANTA, nats={"sgp1": "ipv6-only"}, overlay="tor")
    assert modern.exit != 0
    assert "e3:nats: sgp1-0 can use IPv6 alone, and tor needs IPv4" in modern.said
    able = "didcomm, headscale, iroh, libp2p, nebula, openvpn, tinc, wireguard"
    assert f"works here: {able}" in modern.said
    mute = stack.up(program=SANTA, nats={"sgp1": "udp-blocked"})
    assert mute.exit != 0
    assert "e3:nats: sgp1-0 cannot send UDP, and nebula speaks nothing else" in mute.said
    assert "choose in e3:overlay what works here: " in mute.said
    assert stack.resources.keys() == before.keys()


def test_what_links_do_to_packets_is_set_and_changed_without_other_hosts(stack: Stack) -> None:
    """The round trips are measured before, and again with the jitter allowed for."""
    before = {host.name: host.identity.pid for host in stack.lab.hosts()}
    pair = {"jitter-ms": 5, "loss": 0.01}
    links = {"ams3-sgp1": pair, "ams3->sgp1": {"rate-mbit": 50}}
    outputs = stack.brought_up(program=SANTA, nats=NATS, links=links)
    assert outputs["session"]["verdict"] == "completed"
    assert stack.resources["e3:Links links"]["outputs"]["links"]["ams3->sgp1"] == {
        "jitter_ms": 5,
        "loss": 0.01,
        "rate_mbit": 50,
    }
    assert stack.brought_up(program=SANTA, nats=NATS)["session"]["verdict"] == "completed"
    assert "e3:Links links" not in stack.resources
    assert {host.name: host.identity.pid for host in stack.lab.hosts()} == before


@pytest.mark.long
def test_agents_that_meet_by_messages_join_the_same_hosts(stack: Stack) -> None:
    """They do not go by the overlay of before: that would be direct where Nebula relays."""
    stack.standing(program=SANTA, nats=NATS)
    outputs = stack.brought_up(program=SANTA, nats=NATS, overlay="didcomm")
    session = outputs["session"]
    assert session["verdict"] == "completed"
    relayed = [path for path in read_paths(session["paths"]) if path["class"] == "relayed"]
    assert {(path["from"], path["to"], path["by"]) for path in relayed} >= {
        ("ams3-1", "sgp1-0", "ams3-0"),
        ("sgp1-0", "ams3-1", "ams3-0"),
    }
    # the state has no invitation
    joined = next(r for kind, r in stack.resources.items() if kind.startswith("e3:Overlay"))
    assert joined["outputs"]["memory"] == {"mediators": ["ams3-0"], "convener": "ams3-0"}
    assert "_oob=" not in str(stack.resources)


@pytest.mark.long
def test_a_host_with_another_nat_is_made_anew_and_no_other(stack: Stack) -> None:
    stack.standing(program=SANTA, nats=NATS)
    before = {host.name: host.identity.pid for host in stack.lab.hosts()}
    outputs = stack.brought_up(program=SANTA, nats={**NATS, "sgp1": "ipv6-only"})
    after = {host.name: host.identity.pid for host in stack.lab.hosts()}
    assert {name for name in after if after[name] != before[name]} == {"sgp1-0"}
    assert outputs["session"]["verdict"] == "completed"
    # which region was there first, and so the rest of the address, differs
    underlay = {host["name"]: host["underlay"] for host in outputs["hosts"]}
    assert underlay["sgp1-0"].startswith("2001:2::c612:")
    classes = {(p["from"], p["to"]): p["class"] for p in read_paths(outputs["session"]["paths"])}
    assert classes["sgp1-0", "ams3-0"] == "direct"
    assert classes["sgp1-0", "ams3-1"] == "relayed"
