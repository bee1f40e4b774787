"""NATs as values: names and properties are decoded, and every mistake is named."""

import re
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3 import nats
from e3.errors import ConfigurationError
from e3.nats import NatBehaviour, Reachability

pytestmark = pytest.mark.unit


@st.composite
def behaviours(draw: st.DrawFn, *, inner: bool = True) -> NatBehaviour:
    mapping = draw(st.sampled_from(get_args(nats.Dependence)))
    free = mapping == "endpoint-independent"
    return NatBehaviour(
        mapping=mapping,
        filtering=draw(st.sampled_from(get_args(nats.Dependence))),
        ports=draw(st.sampled_from(["preserved", "random"])) if free else "random",
        hairpinning=draw(st.booleans()),
        udp_timeout_seconds=draw(st.integers(1, nats.MOST_UDP_TIMEOUT_SECONDS)),
        port_mapping=draw(st.booleans()) if inner else False,
        passes=draw(
            st.sampled_from(["all", "tcp", "web", "tcp-443", *(["proxy"] if inner else [])])
        ),
        mtu_bytes=draw(st.integers(nats.LEAST_MTU_BYTES, nats.USUAL_MTU_BYTES)),
        shared=draw(st.sampled_from(["", "flat"])) if inner else "",
        carrier=draw(st.none() | behaviours(inner=False)) if inner else None,
    )


@given(behaviours() | st.sampled_from([it for it in nats.NAMED.values() if it]))
def test_text_is_read_as_it_was_written(behaviour: NatBehaviour) -> None:
    assert nats.from_text("x", nats.to_text(behaviour)) == behaviour
    assert behaviour.reachability in get_args(Reachability)


def test_a_name_stays_a_name_and_one_that_is_shared_says_whose() -> None:
    for name in nats.NAMED:
        assert nats.to_text(nats.NAMED[name]) == name  # so no two names have the same meaning
    shared = nats.decode("x", {"like": "home", "shared": "flat"})
    assert nats.to_text(shared) == '{"like":"home","shared":"flat"}'


@pytest.mark.parametrize("kind", get_args(Reachability))
def test_each_class_is_judged_as_itself(kind: Reachability) -> None:
    behaviour = nats.CLASSES[kind]
    assert (behaviour.reachability if behaviour else "public") == kind


@pytest.mark.parametrize(
    ("described", "kind"),
    [
        ("home", "port-restricted"),
        ("corporate", "tcp-443-only"),
        ("cloud-nat", "symmetric"),
        ("mobile", "symmetric"),
        ("hotel", "tcp-443-only"),
        ("shared-home", "port-restricted"),
        ("nat64", "ipv6-only"),
        ("short-timeout", "port-restricted"),
        ("mtu-1280", "port-restricted"),
        ({"filtering": "endpoint-independent", "mapping": "address-dependent"}, "full-cone"),
        ({"filtering": "address-dependent", "mapping": "address-dependent"}, "symmetric"),
        ({"filtering": "endpoint-independent", "carrier": "home"}, "cgnat"),
        ({"filtering": "endpoint-independent", "carrier": "full-cone"}, "full-cone"),
        ({"like": "full-cone", "carrier": "address-restricted"}, "address-restricted"),
        ({"carrier": "mobile"}, "symmetric"),
        ({"carrier": "udp-blocked"}, "udp-blocked"),
        ({"passes": "tcp", "carrier": "corporate"}, "tcp-443-only"),
        ({"hairpinning": True, "ports": "random"}, "port-restricted"),
    ],
)
def test_the_strictest_layer_decides_the_class(described: object, kind: Reachability) -> None:
    behaviour = nats.decode("x", described)
    assert behaviour is not None
    assert behaviour.reachability == kind


def test_properties_change_what_they_are_like() -> None:
    assert nats.decode("x", {"like": "home", "udp-timeout-seconds": 30.0}) == NatBehaviour(
        udp_timeout_seconds=30
    )
    drawn = nats.decode("x", {"mapping": "address-dependent"})
    assert drawn == NatBehaviour(mapping="address-dependent", ports="random")


MISTAKES: dict[str, tuple[Any, str]] = {
    "name": ("double", "x is 'double'; choose one of public, full-cone, address-restricted, po"),
    "list": (["cgnat"], "x is ['cgnat']; choose one of public, "),
    "property": ({"maping": "x"}, "x has no property 'maping'; choose of like, mapping, filtering"),
    "like": ({"like": "double"}, "x: like is 'double'; choose one of public"),
    "like nothing": ({"like": "public"}, "x: like is 'public'; there is no NAT before"),
    "choice": ({"mapping": "symmetric"}, "x: mapping is 'symmetric'; choose one of endpoint-ind"),
    "unhashable": ({"passes": ["tcp"]}, "x: passes is ['tcp']; choose one of all, tcp, web, "),
    "seconds": ({"udp-timeout-seconds": 0}, "x: udp-timeout-seconds is 0; write a number from 1"),
    "half": ({"udp-timeout-seconds": 1.5}, "x: udp-timeout-seconds is 1.5; write a whole number"),
    "endless": ({"udp-timeout-seconds": float("inf")}, "is inf; write a whole number"),
    "truth": ({"hairpinning": "yes"}, "x: hairpinning is 'yes'; write true or false"),
    "number": ({"udp-timeout-seconds": True}, "x: udp-timeout-seconds is True; write a whole"),
    "mtu": ({"mtu-bytes": 1279}, "x: mtu-bytes is 1279; write a number from 1280 to 1500"),
    "shared": ({"shared": "My Flat"}, "x: shared is 'My Flat'; use up to 15 lower-case letters"),
    "ports": (
        {"mapping": "address-dependent", "ports": "preserved"},
        "x: mapping is address-dependent, which draws its ports; set ports: random",
    ),
    "ipv6": ({"ip": "ipv6", "mapping": "address-dependent"}, "x: ip is ipv6, where no host has I"),
    "carriers": ({"carrier": "cgnat"}, "x: carrier has a carrier, is shared"),
    "carrier's ports": ({"carrier": "port-mapping"}, "x: carrier has a carrier, is shared, maps"),
    "firewall": ({"carrier": "ipv6-only"}, "x: carrier is a firewall of IPv6"),
    "inside": (
        {"carrier": {"ports": 5}},
        "x: carrier: ports is 5; choose one of preserved, random",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_named(mistake: str) -> None:
    value, said = MISTAKES[mistake]
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        nats.decode("x", value)


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="x is no JSON"):
        nats.from_text("x", "{mapping}")
