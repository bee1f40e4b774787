"""The router of a region: a network namespace with a bridge for its hosts and a way to the WAN.

Hosts have /32 addresses, so all their packets pass the router, also those to neighbours: from
there they take the delay line (``wan0``) or, where a link does nothing, the kernel's own
forwarding. Ports are isolated and neighbours known beforehand: no broadcast reaches every host.
"""

import fcntl
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from e3.errors import PlatformError
from e3.lab import linux
from e3.lab.addresses import LAB_NETWORK, REGION_PREFIX, RegionAddresses
from e3.lab.host import Cable, run_bridge, run_ip, write_sysctls

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x1, 0x1000, 0x4000
NEAR_TABLE = 100  # routes of packets that come from the region's own hosts
WAN_QUEUE_PACKETS = 500
BRIDGE_DROPS, BRIDGE_FORWARDS = 0, 3  # BR_STATE_DISABLED, BR_STATE_FORWARDING: linux/if_bridge.h

ROUTER_SYSCTLS = {
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/ipv4/ip_forward": "1",
    # packets come back by another interface than the one that leads to their sender
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
}


@dataclass(frozen=True)
class Router:
    """A region's router; ``network`` is the descriptor that keeps its namespace alive."""

    region: str
    addresses: RegionAddresses
    network: int
    tun: int
    straight: set[str] = field(default_factory=set)
    """Regions to which packets go without the delay line."""

    @classmethod
    def make(cls, region: str, addresses: RegionAddresses) -> "Router":
        """Make the router of a region; its ``tun`` is to be handed to the delay line."""
        network = linux.new_network()
        with linux.inside_network(network):
            write_sysctls(ROUTER_SYSCTLS)
            tun = _open_tun("wan0")
            gateway = f"{addresses.gateway}/{REGION_PREFIX}"
            run_ip(
                "link set lo up\n"
                f"link add br0 address {mac(addresses.gateway)} type bridge mcast_snooping 0\n"
                f"addr add {gateway} dev br0\n"
                "link set br0 up\n"
                f"link set wan0 txqueuelen {WAN_QUEUE_PACKETS} up\n"
                f"route add {LAB_NETWORK} dev wan0\n"
                f"rule add iif br0 lookup {NEAR_TABLE}\n"
                f"route add {addresses.network} dev wan0 table {NEAR_TABLE}\n"
            )
        return cls(region, addresses, network, tun)

    def plug_in(self, cables: Iterable[Cable]) -> None:
        """Connect the cables of new hosts and NATs to the bridge."""
        commands = [
            f"link set {cable.port} master br0 up\n"
            f"link set {cable.port} type bridge_slave isolated on\n"
            f"neigh replace {cable.address} lladdr {cable.mac} dev br0 nud permanent\n"
            for cable in cables
        ]
        with linux.inside_network(self.network):
            run_ip("".join(commands))

    def readdress(self, cable: Cable, before: str) -> None:
        """Find who hangs on ``cable`` at its new address, and nobody at the one of before."""
        with linux.inside_network(self.network):
            run_ip(
                f"neigh replace {cable.address} lladdr {cable.mac} dev br0 nud permanent\n"
                f"neigh del {before} dev br0\n"
            )

    def set_cable(self, port: str, *, whole: bool) -> None:
        """Have a cable carry packets, or lose them all without a sign at either end."""
        state = BRIDGE_FORWARDS if whole else BRIDGE_DROPS
        with linux.inside_network(self.network):
            run_bridge(f"link set dev {port} state {state}\n")

    def unplug(self, ports: Iterable[str]) -> None:
        """Remove cables of hosts that are gone, if the kernel has not done so yet."""
        with linux.inside_network(self.network):
            run_ip("".join(f"link del {port}\n" for port in ports), force=True)

    def close(self) -> None:
        """Let the router go, with all that it holds."""
        os.close(self.network)

    def set_straight_inside(self, *, straight: bool) -> None:
        """Have packets between the region's own hosts forwarded at once, or delayed."""
        if straight == (self.region in self.straight):
            return
        verb = "del" if straight else "add"
        with linux.inside_network(self.network):
            run_ip(f"route {verb} {self.addresses.network} dev wan0 table {NEAR_TABLE}\n")
        (self.straight.add if straight else self.straight.discard)(self.region)


def set_straight(one: Router, other: Router, *, straight: bool) -> None:
    """Have packets between two regions take a cable of their own, or the delay line."""
    if one is other:
        one.set_straight_inside(straight=straight)
        return
    if straight == (other.region in one.straight):
        return
    ends = [(one, _cable(other), other), (other, _cable(one), one)]
    if straight:
        with linux.inside_network(one.network):
            peer = f"peer name {_cable(one)} netns /proc/self/fd/{other.network}"
            run_ip(f"link add {_cable(other)} type veth {peer}\n", other.network)
        for here, cable, there in ends:
            with linux.inside_network(here.network):
                addresses = there.addresses
                run_ip(
                    f"link set {cable} up\n"
                    f"route add {addresses.network} via {addresses.gateway} dev {cable} onlink\n"
                )
            here.straight.add(there.region)
    else:
        with linux.inside_network(one.network):
            run_ip(f"link del {_cable(other)}\n")
        for here, _, there in ends:
            here.straight.discard(there.region)


def mac(address: IPv4Address) -> str:
    """Return the Ethernet address of who has that IP address: locally administered, unique."""
    return "02:00:" + ":".join(f"{byte:02x}" for byte in address.packed)


def _cable(router: Router) -> str:
    return f"to{router.addresses.index}"


def _open_tun(name: str) -> int:
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", name.encode(), flags))
    except PermissionError as error:
        raise PlatformError(
            "the lab may not open /dev/net/tun; run `sudo chmod 0666 /dev/net/tun`, or run as root"
        ) from error
    except OSError as error:
        raise PlatformError(
            f"the lab cannot open /dev/net/tun ({error.strerror}); run `sudo modprobe tun`"
        ) from error
    return tun
