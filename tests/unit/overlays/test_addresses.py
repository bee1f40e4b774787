"""Addresses are assigned automatically and never change."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.errors import ConfigurationError
from e3.interfaces import Network
from e3.overlays.addresses import assign

SPAN = IPv4Network("10.77.0.0/26")
NAMES = st.lists(
    st.integers(0, 99).map(lambda i: f"ams3-{i}"), unique=True, min_size=1, max_size=62
)


@given(NAMES, NAMES)
def test_a_host_in_both_deployments_keeps_its_address(before: list[str], after: list[str]) -> None:
    old = assign(before, SPAN, None)
    new = assign(after, SPAN, Network(addresses=old))
    assert list(new) == after
    assert all(new[name] == old[name] for name in after if name in old)
    assert len(set(new.values())) == len(after)
    assert all(IPv4Address(address) in SPAN for address in new.values())


def test_a_removed_hosts_address_is_not_given_out_at_once() -> None:
    old = assign(["a", "b"], SPAN, None)
    assert assign(["b", "c"], SPAN, Network(addresses=old))["c"] not in old.values()


def test_another_range_gives_everyone_a_new_address() -> None:
    old = assign(["a", "b"], SPAN, None)
    new = assign(["a", "b"], IPv4Network("10.78.0.0/26"), Network(addresses=old))
    assert new == {"a": "10.78.0.1", "b": "10.78.0.2"}


def test_too_small_a_range_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'10\.77\.0\.0/29': 6 addresses are too few"):
        assign([f"h{i}" for i in range(7)], IPv4Network("10.77.0.0/29"), None)
