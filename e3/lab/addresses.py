"""Who has which underlay address: 198.18.0.0/15 (RFC 2544), one /22 a region.

Pure. An address is remembered by the host's name, so that a host that is made anew gets
its old one, and no host's address moves when others come and go.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from e3.errors import LabError

LAB_NETWORK = IPv4Network("198.18.0.0/15")
REGION_PREFIX = 22
HOST_BITS = 32 - REGION_PREFIX
MOST_REGIONS = 1 << (REGION_PREFIX - LAB_NETWORK.prefixlen)
MOST_HOSTS = (1 << HOST_BITS) - 3  # without network, gateway and broadcast


def region_network(index: int) -> IPv4Network:
    """Return the network of the region with that index."""
    base = int(LAB_NETWORK.network_address) + (index << HOST_BITS)
    return IPv4Network((base, REGION_PREFIX))


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
        """Return the address of host ``name``, the same as before if it ever had one that is free.

        Raises `LabError` when the region is full.
        """
        if name not in self._used:
            self._used[name] = self._left.pop(name) if name in self._left else self._next()
        return self._used[name]

    def release(self, name: str) -> None:
        """Give the address of host ``name`` back; without one nothing happens."""
        if name in self._used:
            self._left[name] = self._used.pop(name)

    def _next(self) -> IPv4Address:
        if self._fresh <= MOST_HOSTS + 1:
            self._fresh += 1
            return self.network.network_address + (self._fresh - 1)
        if not self._left:
            raise LabError(
                f"a region of the lab holds at most {MOST_HOSTS} hosts; use more regions"
            )
        return self._left.pop(next(iter(self._left)))  # of the host that left first
