"""How tinc's dump of nodes is read, and which hosts gossip."""

from dataclasses import replace

import pytest

from e3.errors import ConfigurationError
from e3.experiment import Choice
from e3.overlays import OVERLAYS
from e3.overlays.tinc import Tinc, gossiping, read_ways
from e3.registry import build
from tests.hosts import host


def line(name: str, *, status: str = "001a", nexthop: str, via: str, mtu: int) -> str:
    return (
        f"2026-11-21 02:29:31 tinc[15]:  {name} at 198.18.0.3 port 655 cipher 427 digest 672 "
        f"maclength 16 compression 0 options c status {status} nexthop {nexthop} via {via} "
        f"pmtu 1451 (min {mtu} max 1451)\n"
    )


@pytest.mark.parametrize(
    ("dump", "expected"),
    [
        pytest.param(line("b", nexthop="b", via="b", mtu=1451), "b", id="udp"),
        pytest.param(line("b", nexthop="b", via="b", mtu=0), "b", id="tcp"),
        pytest.param(line("b", nexthop="c", via="b", mtu=1451), "b", id="hole-punched"),
        pytest.param(line("b", nexthop="c", via="b", mtu=0), "c", id="tcp-by-a-third"),
        pytest.param(line("b", nexthop="c", via="b", mtu=700), "c", id="only-small-ones-pass"),
        pytest.param(line("b", nexthop="c", via="b", mtu=1414), "b", id="the-tunnels-own-pass"),
        pytest.param(line("b", nexthop="c", via="c", mtu=1451), "c", id="udp-by-a-third"),
        pytest.param(line("b", nexthop="b", via="a", mtu=0), "b", id="via-itself"),
        pytest.param(
            line("b", status="0008", nexthop="(null)", via="(null)", mtu=0),
            None,
            id="unreachable",
        ),
    ],
)
def test_who_gets_the_packets_for_a_node(dump: str, expected: str | None) -> None:
    assert read_ways(dump, "a", 1414) == ({"b": expected} if expected else {})


def test_who_hears_of_third_members_goes_on_when_there_are_none() -> None:
    public = [host("ams3-0", "198.18.0.2"), host("ams3-1", "198.18.0.3")]
    hidden = [
        replace(host(name, "172.16.0.2"), reachability="port-restricted")
        for name in ("sgp1-0", "sgp1-1")
    ]
    given = Tinc().assign([each.name for each in (*public, *hidden)], None)
    first = gossiping([*public, *hidden], given, ())
    assert first == ["ams3-0", "sgp1-0", "sgp1-1"]
    assert gossiping([*public, hidden[0]], given, first) == ["ams3-0", "sgp1-0"]
    assert gossiping([*public, hidden[0]], given, ()) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("port", 0), ("mtu", 1501), ("keepalive", 1), ("range", "10.79.0.0/33")],
)
def test_an_option_out_of_range_is_named(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"e3:overlay-options: {option} is"):
        build(OVERLAYS, Choice(name="tinc", options={option: value}), key="overlay")
