"""The router of a region: a network namespace with a bridge for its hosts and a device to the WAN.

Hosts have /32 addresses, so all their packets pass the router, also those to hosts of the same
region. The router sends them through the delay line (``wan0``) or, where a link has no effect,
forwards them itself. Ports are isolated and neighbour entries are static, so no broadcast reaches
every host. If the kernel has IPv6, all of this exists twice (`e3.lab.addresses.ipv6_of`).
"""

import fcntl
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from e3.errors import PlatformError
from e3.lab import linux, sysctls
from e3.lab.addresses import LAB_NETWORK, RegionAddresses, ipv6_network_of, ipv6_of
from e3.lab.host import Cable, run_bridge, run_ip, run_ip6
from e3.lab.userspace import open_tun, tun_remedy

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x1, 0x1000, 0x4000
NEAR_TABLE = 100  # routes of packets that come from the region's own hosts
WAN_QUEUE_PACKETS = 5000
"""As hundreds of hosts send at once; a flow of TCP fills no more than its own window of them."""

BRIDGE_DROPS, BRIDGE_FORWARDS = 0, 3  # BR_STATE_DISABLED, BR_STATE_FORWARDING: linux/if_bridge.h


@dataclass(frozen=True)
class Router:
    """A region's router; ``network`` is the descriptor that keeps its namespace alive."""

    region: str
    addresses: RegionAddresses
    network: int
    tun: int
    bypassed: set[str] = field(default_factory=set)
    """Regions to which packets bypass the delay line."""

    @classmethod
    def make(cls, region: str, addresses: RegionAddresses) -> "Router":
        """Create the router of a region; the caller hands its ``tun`` to the delay line."""
        network = linux.new_network()
        with linux.inside_network(network):
            sysctls.write(sysctls.ROUTER)
            tun = _open_tun("wan0")
            gateway, region_network = addresses.gateway, addresses.network
            run_ip(
                "link set lo up\n"
                f"link add br0 address {mac(gateway)} type bridge mcast_snooping 0\n"
                "link set br0 up\n"
                f"link set wan0 txqueuelen {WAN_QUEUE_PACKETS} up\n"
                + _routes(gateway, region_network, LAB_NETWORK)
            )
            if linux.has_ipv6():
                whole = ipv6_network_of(LAB_NETWORK)
                run_ip6(_routes(ipv6_of(gateway), ipv6_network_of(region_network), whole))
        return cls(region, addresses, network, tun)

    @property
    def networks(self) -> Sequence[IPv4Network | IPv6Network]:
        """The region's networks: IPv4, and IPv6 if the kernel has it."""
        network = self.addresses.network
        return (network, ipv6_network_of(network)) if linux.has_ipv6() else (network,)

    @property
    def gateways(self) -> Sequence[IPv4Address | IPv6Address]:
        """The router's addresses, one in each of its `networks`."""
        gateway = self.addresses.gateway
        return (gateway, ipv6_of(gateway)) if linux.has_ipv6() else (gateway,)

    def attach(self, cables: Iterable[Cable]) -> None:
        """Connect the cables of new hosts and NATs to the bridge."""
        commands = [
            f"link set {cable.port} master br0 up\n"
            f"link set {cable.port} type bridge_slave isolated on\n{_neighbour(cable)}"
            for cable in cables
        ]
        with linux.inside_network(self.network):
            run_ip("".join(commands))

    def readdress(self, cable: Cable, before: Cable) -> None:
        """Replace the neighbour entries of ``before`` by those of ``cable``."""
        gone = "".join(f"neigh del {address} dev br0\n" for address in before.addresses)
        with linux.inside_network(self.network):
            run_ip(_neighbour(cable) + gone)

    def set_cable(self, port: str, *, whole: bool) -> None:
        """Let a cable carry packets (``whole``), or drop them all silently."""
        state = BRIDGE_FORWARDS if whole else BRIDGE_DROPS
        with linux.inside_network(self.network):
            run_bridge(f"link set dev {port} state {state}\n")

    def detach(self, ports: Iterable[str]) -> None:
        """Remove cables of hosts that are gone, if the kernel has not done so yet."""
        with linux.inside_network(self.network):
            run_ip("".join(f"link del {port}\n" for port in ports), force=True)

    def close(self) -> None:
        """Release the router's namespace, and with it the router."""
        os.close(self.network)

    def set_bypass_inside(self, *, bypass: bool) -> None:
        """Let packets between the region's own hosts bypass the delay line, or pass it."""
        if bypass == (self.region in self.bypassed):
            return
        verb = "del" if bypass else "add"
        with linux.inside_network(self.network):
            run_ip(
                "".join(
                    f"route {verb} {network} dev wan0 table {NEAR_TABLE}\n"
                    for network in self.networks
                )
            )
        (self.bypassed.add if bypass else self.bypassed.discard)(self.region)


def set_bypass(one: Router, other: Router, *, bypass: bool) -> None:
    """Let packets between two regions pass a direct cable, or the delay line."""
    if one is other:
        one.set_bypass_inside(bypass=bypass)
        return
    if bypass == (other.region in one.bypassed):
        return
    ends = [(one, _cable(other), other), (other, _cable(one), one)]
    if bypass:
        with linux.inside_network(one.network):
            peer = (
                f"peer name {_cable(one)} address {mac(other.addresses.gateway)}"
                f" netns /proc/self/fd/{other.network}"
            )
            own = f"{_cable(other)} address {mac(one.addresses.gateway)}"
            run_ip(f"link add {own} type veth {peer}\n", other.network)
        for here, cable, there in ends:
            there_mac = mac(there.addresses.gateway)
            with linux.inside_network(here.network):
                run_ip(
                    f"link set {cable} up\n"
                    + "".join(
                        f"neigh add {gateway} lladdr {there_mac} dev {cable} nud permanent\n"
                        f"route add {gateway} dev {cable} scope link\n"
                        f"route add {network} via {gateway} dev {cable}\n"
                        for gateway, network in zip(there.gateways, there.networks, strict=True)
                    )
                )
            here.bypassed.add(there.region)
    else:
        with linux.inside_network(one.network):
            run_ip(f"link del {_cable(other)}\n")
        for here, _, there in ends:
            here.bypassed.discard(there.region)


def mac(address: IPv4Address | str) -> str:
    """Return the Ethernet address that belongs to an IP address: locally administered, unique.

    An IPv6 address of the lab and the IPv4 address that it derives from have the same one.
    """
    return "02:00:" + ":".join(f"{byte:02x}" for byte in ip_address(address).packed[-4:])


def _routes(
    gateway: IPv4Address | IPv6Address,
    network: IPv4Network | IPv6Network,
    whole: IPv4Network | IPv6Network,
) -> str:
    """Return the commands that make ``gateway`` the router of ``network``, a part of ``whole``."""
    return (
        f"addr add {gateway}/{network.prefixlen} dev br0\n"
        f"route add {whole} dev wan0\n"
        f"rule add iif br0 lookup {NEAR_TABLE}\n"
        f"route add {network} dev wan0 table {NEAR_TABLE}\n"
    )


def _neighbour(cable: Cable) -> str:
    """Return the neighbour entries for the host or NAT on a cable."""
    return "".join(
        f"neigh replace {address} lladdr {cable.mac} dev br0 nud permanent\n"
        for address in cable.addresses
    )


def _cable(router: Router) -> str:
    return f"to{router.addresses.index}"


def _open_tun(name: str) -> int:
    tun = open_tun()
    try:
        flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", name.encode(), flags))
    except OSError as error:
        os.close(tun)
        reason = f"the lab gets no TUN device ({error.strerror}); {tun_remedy(error.errno)}"
        raise PlatformError(reason) from error
    return tun
