"""Which host of a pair dials, which hosts serve, and which host is the hub."""

from collections.abc import Mapping

import pytest

from e3.errors import OverlayError
from e3.interfaces import Host
from e3.nats import Reachability
from e3.overlays.topology import can_meet, choose_servers, dials, hub
from tests.hosts import host

pytestmark = pytest.mark.unit

WORDS = {"need": "Thing needs {} as server", "instead": "choose another overlay"}


def fleet(**reachability: Reachability) -> tuple[list[Host], Mapping[str, str]]:
    hosts = [
        host(name.replace("_", "-"), f"198.18.0.{i}", reachability=kind)
        for i, (name, kind) in enumerate(reachability.items())
    ]
    return hosts, {each.name: f"10.78.0.{9 + i}" for i, each in enumerate(hosts)}


@pytest.mark.parametrize(
    ("reachability", "expected"),
    [
        (
            {"ams3_0": "public", "nyc3_0": "public", "sgp1_0": "public"},
            {"ams3-0": [], "nyc3-0": ["ams3-0"], "sgp1-0": ["ams3-0", "nyc3-0"]},
        ),
        (
            {"sfo3_0": "ipv6-only", "ams3_0": "public", "nyc3_0": "public", "sgp1_0": "symmetric"},
            {
                "sfo3-0": ["ams3-0", "nyc3-0"],
                "ams3-0": [],
                "nyc3-0": ["ams3-0"],
                "sgp1-0": ["ams3-0", "nyc3-0"],
            },
        ),
    ],
)
def test_one_of_each_pair_that_can_meet_dials(
    reachability: dict[str, Reachability], expected: dict[str, list[str]]
) -> None:
    hosts, given = fleet(**reachability)
    assert {
        one.name: [peer.name for peer in hosts if dials(one, peer, given)] for one in hosts
    } == expected
    for one in hosts:
        for other in hosts:
            begins = dials(one, other, given) + dials(other, one, given)
            assert begins == (one != other and can_meet(one, other))


def test_addresses_are_compared_as_numbers() -> None:
    hosts, _ = fleet(ams3_0="public", nyc3_0="public")
    given = {"ams3-0": "10.78.0.9", "nyc3-0": "10.78.0.10"}
    assert dials(hosts[1], hosts[0], given)
    assert hub(hosts, given, of="Thing").name == "ams3-0"


def test_a_fleet_without_a_public_host_is_refused_with_what_would_do() -> None:
    hosts, given = fleet(ams3_0="symmetric")
    said = "needs a host that the others can reach from outside, and this fleet has none; make one"
    with pytest.raises(OverlayError, match=f"Thing {said} host public, or choose an overlay"):
        hub(hosts, given, of="Thing")
    with pytest.raises(
        OverlayError, match=r"as server, and this fleet has none; .* another overlay"
    ):
        choose_servers(hosts, [], count=1, **WORDS)


def test_servers_stay_and_newcomers_come_from_other_regions_first() -> None:
    hosts, _ = fleet(ams3_0="public", ams3_1="public", nyc3_0="public")
    assert choose_servers(hosts, [], count=2, **WORDS) == ["ams3-0", "nyc3-0"]
    assert choose_servers(hosts, ["ams3-1"], count=2, **WORDS) == ["ams3-1", "ams3-0"]
