"""The underlay address of each host: 198.18.0.0/15 (RFC 2544), one /22 a region.

Pure. Each address is kept under the host's name. So a host that is created again gets its
old address, and no address changes when other hosts come and go. Behind a NAT the address is
the NAT's. The private addresses derive from it, so that no two networks of a lab share one.

Each IPv4 address also gives an IPv6 address in 2001:2::/48 (RFC 5180, the benchmarks' range
there): its last 32 bits are the IPv4 address, so that only one of the two has to be kept.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from e3.errors import LabError

LAB_NETWORK = IPv4Network("198.18.0.0/15")
LAB_NETWORK6 = IPv6Network("2001:2::/48")
HOME_RANGE = IPv4Network("172.16.0.0/12")  # RFC 1918; overlays take their ranges from 10.0.0.0/8
CARRIER_RANGE = IPv4Network("100.64.0.0/10")  # RFC 6598: between a carrier's NAT and its customers'
REGION_PREFIX = 22
HOST_BITS = 32 - REGION_PREFIX
MOST_REGIONS = 1 << (REGION_PREFIX - LAB_NETWORK.prefixlen)
MOST_HOSTS = (1 << HOST_BITS) - 3  # without network, gateway and broadcast


def region_network(index: int) -> IPv4Network:
    """Return the network of the region with that index."""
    base = int(LAB_NETWORK.network_address) + (index << HOST_BITS)
    return IPv4Network((base, REGION_PREFIX))


def ipv6_of(address: IPv4Address) -> IPv6Address:
    """Return the IPv6 address that belongs to an IPv4 address; `ipv4_of` is the inverse."""
    return LAB_NETWORK6.network_address + int(address)


def ipv4_of(address: IPv6Address) -> IPv4Address:
    """Return the IPv4 address from which an IPv6 address of the lab derives."""
    return IPv4Address(int(address) - int(LAB_NETWORK6.network_address))


def ipv6_network_of(network: IPv4Network) -> IPv6Network:
    """Return the IPv6 network that belongs to the IPv4 ``network``."""
    return IPv6Network((ipv6_of(network.network_address), 128 - 32 + network.prefixlen))


def home_network(outside: IPv4Address) -> IPv4Network:
    """Return the network, a /29, behind the home router that has this address outside.

    Behind a carrier's NAT it is derived from the address of that NAT.
    """
    if outside in CARRIER_RANGE:
        step = 1 << (LAB_NETWORK.prefixlen - CARRIER_RANGE.prefixlen)
        carrier = (int(outside) - int(CARRIER_RANGE.network_address)) // step
        outside = LAB_NETWORK.network_address + carrier
    return _behind(outside, HOME_RANGE)


def carrier_network(outside: IPv4Address) -> IPv4Network:
    """Return the network, a /27, behind the carrier's NAT that has this address outside."""
    return _behind(outside, CARRIER_RANGE)


def _behind(outside: IPv4Address, span: IPv4Network) -> IPv4Network:
    """Return the part of ``span`` that belongs to this address of the lab alone."""
    bits = LAB_NETWORK.prefixlen - span.prefixlen
    index = int(outside) - int(LAB_NETWORK.network_address)
    return IPv4Network((int(span.network_address) + (index << bits), 32 - bits))


@dataclass
class RegionAddresses:
    """The addresses of one region; its first is the gateway's."""

    index: int
    _used: dict[str, IPv4Address] = field(default_factory=dict)
    _left: dict[str, IPv4Address] = field(default_factory=dict)
    _fresh: int = 2

    @property
    def network(self) -> IPv4Network:
        """The region's network."""
        return region_network(self.index)

    @property
    def gateway(self) -> IPv4Address:
        """The address of the region's router."""
        return self.network.network_address + 1

    def take(self, name: str) -> IPv4Address:
        """Return the address of host ``name``: its former one if that is still free.

        Raises `LabError` when the region is full.
        """
        if name not in self._used:
            self._used[name] = self._left.pop(name) if name in self._left else self._next()
        return self._used[name]

    def release(self, name: str) -> None:
        """Release the address of host ``name``; do nothing if it has none."""
        if name in self._used:
            self._left[name] = self._used.pop(name)

    def move(self, name: str) -> IPv4Address:
        """Give host ``name`` another address and return it.

        The old one is never used again: packets sent there must not reach another host.
        Raises `LabError` when the region is full.
        """
        self._used[name] = self._next()
        return self._used[name]

    def _next(self) -> IPv4Address:
        if self._fresh <= MOST_HOSTS + 1:
            self._fresh += 1
            return self.network.network_address + (self._fresh - 1)
        if not self._left:
            raise LabError(
                f"a region of the lab holds at most {MOST_HOSTS} hosts; use more regions"
            )
        return self._left.pop(next(iter(self._left)))  # of the host that left first
