from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.errors import LabError
from e3.lab.addresses import (
    CARRIER_RANGE,
    HOME_RANGE,
    LAB_NETWORK,
    LAB_NETWORK6,
    MOST_HOSTS,
    MOST_REGIONS,
    RegionAddresses,
    carrier_network,
    home_network,
    ipv4_of,
    ipv6_network_of,
    ipv6_of,
    region_network,
)

pytestmark = pytest.mark.unit


def test_regions_share_the_lab_network_without_overlap() -> None:
    networks = [region_network(index) for index in range(MOST_REGIONS)]
    assert networks == list(LAB_NETWORK.subnets(new_prefix=22))


def test_an_ipv6_address_follows_from_each_ipv4_address_and_leads_back() -> None:
    region = region_network(1)
    assert str(ipv6_of(region[2])) == "2001:2::c612:402"
    assert str(ipv6_network_of(region)) == "2001:2::c612:400/118"
    for address in (LAB_NETWORK[0], region[2], HOME_RANGE[-1]):
        assert ipv6_of(address) in LAB_NETWORK6
        assert ipv4_of(ipv6_of(address)) == address


def test_the_gateway_comes_first_and_hosts_follow() -> None:
    region = RegionAddresses(1)
    assert str(region.gateway) == "198.18.4.1"
    assert [str(region.take(name)) for name in ("a", "b", "a")] == [
        "198.18.4.2",
        "198.18.4.3",
        "198.18.4.2",
    ]


def test_a_host_that_comes_back_gets_its_address_back() -> None:
    region = RegionAddresses(0)
    first = region.take("a")
    region.release("a")
    assert region.take("b") != first
    assert region.take("a") == first


def test_an_address_that_a_host_left_behind_is_nobodys() -> None:
    region = RegionAddresses(0)
    first = region.take("a")
    second = region.move("a")
    assert second != first
    assert region.take("a") == second
    region.release("a")
    assert region.take("a") == second
    others = [region.take(f"h{i}") for i in range(MOST_HOSTS - 2)]
    assert first not in others
    with pytest.raises(LabError, match="at most"):
        region.take("one-more")


def test_a_full_region_reuses_what_was_left_first_then_refuses() -> None:
    region = RegionAddresses(0)
    names = [f"h{i}" for i in range(MOST_HOSTS)]
    taken = [region.take(name) for name in names]
    assert taken[-1] == region.network.broadcast_address - 1
    with pytest.raises(LabError, match=f"at most {MOST_HOSTS} hosts"):
        region.take("one-more")
    region.release("h7")
    region.release("h3")
    assert region.take("one-more") == taken[7]


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([f"h{i}" for i in range(8)])), max_size=60)
)
def test_no_address_is_ever_shared_or_moves(steps: list[tuple[bool, str]]) -> None:
    region = RegionAddresses(5)
    held: dict[str, IPv4Address] = {}
    for take, name in steps:
        if take:
            address = region.take(name)
            assert held.setdefault(name, address) == address
        else:
            region.release(name)
            held.pop(name, None)
        assert len(set(held.values())) == len(held)
        assert all(a in region.network and a != region.gateway for a in held.values())


def test_no_two_networks_behind_nats_overlap() -> None:
    outside = [LAB_NETWORK.network_address + i for i in (0, 1, 2, 1023, 1024, (1 << 17) - 1)]
    homes = [home_network(address) for address in outside]
    carriers = [carrier_network(address) for address in outside]
    found = [*homes, *carriers, LAB_NETWORK]
    assert not any(a.overlaps(b) for i, a in enumerate(found) for b in found[:i])
    assert all(network.subnet_of(HOME_RANGE) for network in homes)
    assert all(network.subnet_of(CARRIER_RANGE) for network in carriers)


def test_a_home_behind_a_carrier_has_the_network_of_the_carriers_own_address() -> None:
    outside = LAB_NETWORK.network_address + 1029
    assert home_network(carrier_network(outside)[2]) == home_network(outside)
