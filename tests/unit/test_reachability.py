"""An overlay that cannot join the hosts is refused before anything is made, with alternatives."""

import re

import pytest

from e3.errors import ConfigurationError
from e3.interfaces import Needs
from e3.nats import Reachability
from e3.overlays import OVERLAYS
from e3.overlays.nebula import Nebula
from e3.overlays.plain import Plain
from e3.overlays.tailscale.headscale import Headscale
from e3.overlays.tinc import Tinc
from e3.preflight import check_reachability
from e3.reachability import meet, shortfall

UDP = Needs(udp=True, public_host=True)
BARE = Needs(crosses_nats=False)
RELAYED = Needs(public_host=True, port_443_suffices=True)
BOTH = Needs(udp=True, public_host=True, ipv6=True)

CASES: dict[str, tuple[Needs, dict[str, Reachability], str | None]] = {
    "all public": (UDP, {"a-0": "public", "b-0": "public"}, None),
    "nobody": (UDP, {}, None),
    "nats and a relay": (UDP, {"a-0": "public", "b-0": "symmetric", "c-0": "cgnat"}, None),
    "no public host": (UDP, {"a-0": "full-cone"}, "x needs a host that the others can reach, and"),
    "without udp": (UDP, {"a-0": "public", "b-0": "udp-blocked"}, "b-0 cannot send UDP, and x"),
    "tcp will do": (RELAYED, {"a-0": "public", "b-0": "udp-blocked"}, None),
    "port 443": (UDP, {"a-0": "public", "b-0": "tcp-443-only"}, "b-0 can use TCP port 443 alone"),
    "443 will do": (RELAYED, {"a-0": "public", "b-0": "tcp-443-only"}, None),
    "proxy": (
        RELAYED,
        {"a-0": "public", "b-0": "http-proxy"},
        "b-0 can use an HTTP proxy to port 443 alone, and x needs other ways",
    ),
    "a proxy will do": (
        Needs(public_host=True, port_443_suffices=True, http_proxies=True),
        {"a-0": "public", "b-0": "http-proxy"},
        None,
    ),
    "IPv6": (UDP, {"a-0": "public", "b-0": "ipv6-only"}, "b-0 can use IPv6 alone, and x needs I"),
    "IPv6 will do": (BOTH, {"a-0": "public", "b-0": "ipv6-only", "c-0": "cgnat"}, None),
    "IPv6 without a public host": (BOTH, {"b-0": "ipv6-only"}, "and none is public"),
    "one dials": (BARE, {"a-0": "public", "b-0": "symmetric"}, None),
    "only one dials": (BARE, {"b-0": "symmetric"}, None),
    "two strangers": (
        BARE,
        {"a-0": "public", "b-0": "symmetric", "c-0": "cgnat"},
        "neither of b-0 (symmetric) and c-0 (cgnat) can open a connection to the other, and x",
    ),
    "many strangers": (
        BARE,
        {f"a-{i}": "full-cone" for i in range(4)},
        "nor of a-0 (full-cone) and a-3 (full-cone) and 3 more pairs can open",
    ),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_shortfall(case: str) -> None:
    needs, reachability, said = CASES[case]
    reason = shortfall("x", needs, reachability)
    assert reason == said or (said is not None and reason is not None and said in reason)


@pytest.mark.parametrize(
    ("one", "other", "can"),
    [
        ("public", "symmetric", True),
        ("full-cone", "symmetric", True),
        ("address-restricted", "symmetric", True),
        ("address-restricted", "cgnat", True),
        ("port-restricted", "cgnat", True),
        ("symmetric", "port-restricted", False),
        ("symmetric", "symmetric", False),
        ("udp-blocked", "public", False),
        ("full-cone", "tcp-443-only", False),
        ("full-cone", "http-proxy", False),
        ("ipv6-only", "public", True),
        ("ipv6-only", "ipv6-only", True),
        ("ipv6-only", "full-cone", False),
    ],
)
def test_who_can_be_expected_to_meet_directly(
    one: Reachability, other: Reachability, *, can: bool
) -> None:
    assert meet(one, other) == meet(other, one) == can


def test_the_error_names_key_reason_and_what_works_here() -> None:
    hosts: dict[str, Reachability] = {"a-0": "public", "b-0": "cgnat", "c-0": "cgnat"}
    check_reachability("nebula", Nebula(), OVERLAYS, hosts)
    with pytest.raises(ConfigurationError, match=re.escape("e3:nats: neither of b-0 (cgnat)")) as e:
        check_reachability("plain", Plain(), OVERLAYS, hosts)
    works = str(e.value).rpartition("here: ")[2].split(", ")
    assert "nebula" in works
    assert "plain" not in works


def test_port_443_suffices_where_the_overlay_listens_there() -> None:
    walled: dict[str, Reachability] = {"a-0": "public", "b-0": "tcp-443-only"}
    check_reachability("tinc", Tinc(port=443), OVERLAYS, walled)
    check_reachability("headscale", Headscale(), OVERLAYS, walled)
    for name, overlay in (("tinc", Tinc()), ("headscale", Headscale(control_port=8443))):
        with pytest.raises(ConfigurationError, match=f"443 alone, and {name} needs .* headscale"):
            check_reachability(name, overlay, OVERLAYS, walled)


def test_the_error_says_when_nothing_works() -> None:
    with pytest.raises(ConfigurationError, match="no other overlay works here either"):
        check_reachability(
            "nebula",
            Nebula(),
            {"nebula": Nebula, "plain": Plain},
            {"a-0": "udp-blocked", "b-0": "udp-blocked"},
        )
