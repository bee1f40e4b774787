"""NATs and firewalls between a region's router and hosts, each a network namespace.

`e3.nats` has their behaviour as values, `e3.lab.nat_rules` the rules of Linux's packet filter that
give it. A bridge in the namespace carries the cables of the hosts, or of the next NAT, behind it.
"""

import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from e3.lab import conntrack, linux, sysctls
from e3.lab.addresses import carrier_network, home_network, ipv4_of, ipv6_of
from e3.lab.helper import Helper, HelperProcess
from e3.lab.host import Cable, Uplink, host_network, run_ip, run_nft
from e3.lab.http_proxy import HttpProxy
from e3.lab.nat_rules import firewall_rules, nat_rules
from e3.lab.port_mapping import PortMapper
from e3.lab.router import mac
from e3.lab.translator import Translator
from e3.nats import USUAL_MTU_BYTES, NatBehaviour

OUTSIDE, INSIDE = "wan", "lan"
UDP_TIMEOUTS = ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream")


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of a host or NAT behind another: its number from 0 on, and its interface there."""

    number: int
    port: str


ALONE = Place(number=0, port=f"{INSIDE}0")


@dataclass(frozen=True, kw_only=True)
class Nat:
    """A running NAT or firewall on the cable ``outside``; ``inside`` is the network behind it.

    ``network`` is the descriptor that keeps its namespace alive. Behind a firewall, which
    translates nothing, the host has the IPv6 address of ``outside``.
    """

    behaviour: NatBehaviour
    network: int
    outside: Cable
    inside: IPv4Network
    helpers: Sequence[Helper] = ()

    @classmethod
    def make(
        cls, behaviour: NatBehaviour, outside: Cable, daemon: int, *, is_carrier: bool
    ) -> "Nat":
        """Create a NAT or firewall on the cable ``outside``, whose uplinks are those of `uplinks`.

        ``daemon`` is a pidfd of this process, with which all that it starts dies.
        """
        address = outside.uplinks[0].address
        span = carrier_network if is_carrier else home_network
        inside = span(ipv4_of(IPv6Address(address)) if ":" in address else IPv4Address(address))
        network, first = linux.new_network(), str(inside.network_address + 1)
        nat = cls(
            behaviour=behaviour,
            network=network,
            outside=outside,
            inside=inside,
            helpers=_helpers(behaviour, network, first, daemon),
        )
        try:
            nat._begin()
        except BaseException:
            nat.close()
            raise
        return nat

    @property
    def translates(self) -> bool:
        """Whether the hosts behind it have other addresses than the world sees."""
        return self.behaviour.ip == "ipv4"

    @property
    def own(self) -> Sequence[str]:
        """Its addresses outside."""
        return [address for address in self.outside.addresses if ":" not in address]

    @property
    def gateway(self) -> str:
        """Its address inside."""
        first = self.inside.network_address + 1
        return str(first if self.translates else ipv6_of(first))

    @property
    def mtu_bytes(self) -> int | None:
        """The largest packet that it forwards, None if it is the usual one."""
        limit = self.behaviour.mtu_bytes
        return limit if limit < USUAL_MTU_BYTES else None

    def client(self, place: Place = ALONE) -> Cable:
        """Return the cable of the host or NAT behind it at that place."""
        own = str(self.inside.network_address + 2 + place.number)
        address = own if self.translates else self.outside.addresses[-1]
        return Cable(
            uplinks=(Uplink(address=address, gateway=self.gateway),),
            mac=mac(own),
            gateway_mac=mac(self.gateway),
            port=place.port,
            router=self.network,
        )

    def attach(self, client: Cable) -> None:
        """Serve a client, once its cable is connected."""
        with linux.inside_network(self.network):
            run_ip(f"link set {client.port} master {INSIDE} up\n{_routes(client, self.mtu_bytes)}")

    def readdress(self, outside: Cable) -> "Nat":
        """Return this NAT with another outside address; behind a firewall it is the client's."""
        after = replace(self, outside=outside)
        with linux.inside_network(self.network):
            if self.own:
                run_ip(
                    "".join(f"addr add {host_network(it)} dev {OUTSIDE}\n" for it in after.own)
                    + "".join(f"addr del {host_network(it)} dev {OUTSIDE}\n" for it in self.own)
                )
            if not self.translates:
                old = self.outside.addresses[-1]
                gone = f"route del {old} dev {INSIDE}\nneigh del {old} dev {INSIDE}\n"
                run_ip(_routes(after.client(), self.mtu_bytes) + gone)
        return after

    def reboot(self) -> None:
        """Delete all mappings and flows, as a router does that reboots.

        It works again at once; `LabState.set_cable` emulates the time that a real one is down.
        """
        with linux.inside_network(self.network):
            run_nft(f"flush ruleset\n{self._rules()}")
            conntrack.forget_flows()
        self._start()

    def close(self) -> None:
        """Release the NAT's namespace, and with it the NAT."""
        for helper in self.helpers:
            helper.stop()
        os.close(self.network)

    def _start(self) -> None:
        """Start what it runs besides, anew if that runs already."""
        for helper in self.helpers:
            helper.stop()
            helper.start()

    def _begin(self) -> None:
        seconds = str(self.behaviour.udp_timeout_seconds)
        with linux.inside_network(self.network):
            sysctls.write(sysctls.ROUTER_OF_IPV4 if self.translates else sysctls.ROUTER)
            run_nft(self._rules())
            sysctls.write(sysctls.FLOWS)
            sysctls.write({f"net/netfilter/{name}": seconds for name in UDP_TIMEOUTS})
            self.outside.connect(OUTSIDE, own=self.own, mtu_bytes=self.mtu_bytes)
            run_ip(
                f"link add {INSIDE} address {mac(self.gateway)} type bridge mcast_snooping 0\n"
                f"link set {INSIDE} up\naddr add {host_network(self.gateway)} dev {INSIDE}\n"
            )
        self._start()

    def _rules(self) -> str:
        if not self.translates:
            return firewall_rules(self.behaviour)
        return nat_rules(self.behaviour, self.inside, seed=secrets.randbits(32))


def uplinks(
    behaviour: NatBehaviour | None, address: IPv4Address, gateway: IPv4Address
) -> tuple[Uplink, ...]:
    """Return the uplinks to the region's router of what is before a host, or of a public host.

    Public hosts and NAT64s have both. The IPv6 addresses derive from ``address`` and ``gateway``.
    """
    first = Uplink(address=str(address), gateway=str(gateway))
    second = Uplink(address=str(ipv6_of(address)), gateway=str(ipv6_of(gateway)))
    if behaviour is not None and behaviour.ip != "nat64":
        return (first if behaviour.ip == "ipv4" else second,)
    return (first, second) if linux.has_ipv6() else (first,)


def make_nats(behaviour: NatBehaviour | None, cable: Cable, daemon: int) -> list[Nat]:
    """Create what is before a host on the region's ``cable``, the outermost NAT first.

    ``daemon`` is a pidfd of this process.
    """
    layers = behaviour.layers if behaviour else ()
    nats: list[Nat] = []
    try:
        for layer in layers:
            outside = nats[-1].client() if nats else cable
            nats.append(Nat.make(layer, outside, daemon, is_carrier=layer is not layers[-1]))
            if len(nats) > 1:
                nats[-2].attach(outside)
    except BaseException:
        close(nats)
        raise
    return nats


def _helpers(behaviour: NatBehaviour, network: int, gateway: str, daemon: int) -> Sequence[Helper]:
    """Return what a NAT runs besides forwarding packets."""
    helpers: list[Helper] = []
    if behaviour.port_mapping:
        process = HelperProcess("e3-port-mapper", network, daemon)
        helpers.append(PortMapper(gateway, process))
    if behaviour.passes == "proxy":
        helpers.append(HttpProxy(gateway, HelperProcess("e3-http-proxy", network, daemon)))
    if behaviour.ip == "nat64":
        helpers.append(Translator(HelperProcess("e3-nat64", network, daemon)))
    return helpers


def _routes(client: Cable, mtu_bytes: int | None) -> str:
    """Return the commands by which a NAT routes to a client packets of at most that size."""
    address = client.uplinks[0].address
    limit = f" mtu lock {mtu_bytes}" if mtu_bytes else ""
    return (
        f"route replace {address} dev {INSIDE} scope link{limit}\n"
        f"neigh replace {address} lladdr {client.mac} dev {INSIDE} nud permanent\n"
    )


def close(nats: Iterable[Nat]) -> None:
    """Release the namespaces of these NATs."""
    for nat in nats:
        nat.close()
