"""NATs and firewalls between a host and its region's router.

Terms of RFC 4787 (sections 4.1 and 5): *mapping* says which outside port stands for an inside
one, *filtering* which packets from outside reach it. Linux keeps a source port if it is
free, and a NAT of the lab serves a single host. So ``masquerade`` maps endpoint-independently
and filters by address and port, as the usual home router does. ``fully-random`` draws a port for
each destination from all unprivileged ones. Without that range Linux draws from 600 to 1023 for
tinc's 655, where two draws agree once in 424 times, and then hole punching succeeds by chance. A
full cone needs an extra rule: a packet to a port from which the host has lately sent is forwarded
to the host, whatever its sender.

The router itself (chain ``input``) accepts only answers and pings. If it accepted more, a peer's
early packet would count as a flow of the router, its port as in use, and the host's own packets
would leave from another port: hole punching would fail.

A home with IPv6 only needs no NAT: its router only filters, as in RFC 6092 (`Ipv6Firewall`).
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import ClassVar

from e3.experiment import Reachability
from e3.lab import conntrack, linux, sysctls
from e3.lab.addresses import carrier_network, home_network, ipv4_of, ipv6_of
from e3.lab.host import Cable, Uplink, host_network, run_ip, run_nft
from e3.lab.router import mac

MAPPING_LIFE = "5m"  # RFC 4787, REQ-5, recommends it
OUTSIDE = "wan"


@dataclass(frozen=True, kw_only=True)
class NatBehaviour:
    """How a NAT behaves: its addresses inside, and what differs from the usual home router.

    ``passes`` is the nft expression that a new flow from inside must match, ``ports`` says from
    where ``masquerade`` takes outside ports; ``full_cone`` filters endpoint-independently.
    """

    translates: ClassVar[bool] = True
    settings: ClassVar[Mapping[str, str]] = sysctls.ROUTER_OF_IPV4

    inside: Callable[[IPv4Address], IPv4Network] = home_network
    passes: str = ""
    ports: str = ""
    full_cone: bool = False

    def inside_uplink(self, outside: Uplink) -> Uplink:
        """Return the uplink of the host or NAT behind a NAT with the uplink ``outside``."""
        lan = self.inside(IPv4Address(outside.address)).network_address
        return Uplink(address=str(lan + 2), gateway=str(lan + 1))

    def rules(self, client: str) -> str:
        """Return the nft ruleset of a NAT before the host, or NAT, with that address."""
        cone = self.full_cone
        remember = 'iifname "lan" meta l4proto udp update @mapped { udp sport }' if cone else ""
        return f"""
table ip nat {{
    set mapped {{ type inet_service; flags dynamic,timeout; timeout {MAPPING_LIFE}; }}
    chain input {{
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        icmp type echo-request accept
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        {remember}
        ct state established,related accept
        iifname "lan" {self.passes} accept
        {"ct status dnat accept" if cone else ""}
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        {f'iifname "wan" udp dport @mapped dnat to {client}' if cone else ""}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        oifname "wan" meta l4proto {{ tcp, udp }} masquerade {self.ports}
        oifname "wan" masquerade
    }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Ipv6Firewall:
    """A home router for IPv6: it translates nothing, and lets only new flows from inside pass.

    This follows RFC 6092, 3.2 and 3.3, though Linux filters UDP by address and port, more strictly
    than required there. ICMPv6 errors about known flows (``related``) and echo requests pass, as
    in RFC 4890, 4.3.1. The router has no address in the region: the region's router forwards the
    address of the host to it.
    """

    translates: ClassVar[bool] = False
    settings: ClassVar[Mapping[str, str]] = sysctls.ROUTER

    def inside_uplink(self, outside: Uplink) -> Uplink:
        """Return the uplink of the host behind it, which has the address of ``outside`` itself."""
        lan = home_network(ipv4_of(IPv6Address(outside.address))).network_address
        return Uplink(address=outside.address, gateway=str(ipv6_of(lan + 1)))

    def rules(self, client: str) -> str:
        """Return the nft ruleset of the filter, the same for every host."""
        del client
        return """
table ip6 filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        icmpv6 type echo-request accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "lan" accept
        icmpv6 type echo-request accept
    }
}
"""


NATS_BY_CLASS: Mapping[Reachability, Sequence[NatBehaviour | Ipv6Firewall]] = {
    "public": (),
    "full-cone": (NatBehaviour(full_cone=True),),
    "port-restricted": (NatBehaviour(),),
    "symmetric": (NatBehaviour(ports="to :1024-65535 fully-random"),),
    "cgnat": (NatBehaviour(inside=carrier_network), NatBehaviour()),
    "udp-blocked": (NatBehaviour(passes="meta l4proto != udp"),),
    "tcp-443-only": (NatBehaviour(passes="tcp dport 443"),),
    "ipv6-only": (Ipv6Firewall(),),
}
"""The NATs and firewalls before a host of each class, the outermost first."""


@dataclass(frozen=True, kw_only=True)
class Nat:
    """A running NAT or firewall; ``network`` is the descriptor that keeps its namespace alive.

    ``client`` is the cable of the host or NAT behind it; ``rules`` is its nft ruleset.
    """

    behaviour: NatBehaviour | Ipv6Firewall
    network: int
    client: Cable
    rules: str

    @classmethod
    def make(cls, behaviour: NatBehaviour | Ipv6Firewall, outside: Cable) -> "Nat":
        """Create a NAT or firewall on the cable ``outside``, which has one uplink."""
        uplink = behaviour.inside_uplink(outside.uplinks[0])
        rules = behaviour.rules(uplink.address)
        network = linux.new_network()
        with linux.inside_network(network):
            sysctls.write(behaviour.settings)
            run_nft(rules)
            sysctls.write(sysctls.FLOWS)
            outside.connect(OUTSIDE, addressed=behaviour.translates)
        client = Cable(
            uplinks=(uplink,),
            mac=mac(uplink.address),
            gateway_mac=mac(uplink.gateway),
            port="lan",
            router=network,
        )
        return cls(behaviour=behaviour, network=network, client=client, rules=rules)

    def attach(self) -> None:
        """Serve the client, once its cable is connected."""
        client = self.client
        with linux.inside_network(self.network):
            gateway = host_network(client.uplinks[0].gateway)
            run_ip(
                f"link set lan address {client.gateway_mac} up\n"
                f"addr add {gateway} dev lan\n{_client_routes(client)}"
            )

    def readdress(self, outside: Cable, before: Cable) -> "Nat":
        """Return this NAT with another outside address; behind a firewall it is the client's."""
        if self.behaviour.translates:
            with linux.inside_network(self.network):
                outside.readdress(OUTSIDE, before)
            return self
        old = self.client.uplinks[0]
        client = replace(self.client, uplinks=(replace(old, address=outside.uplinks[0].address),))
        with linux.inside_network(self.network):
            gone = f"route del {old.address} dev lan\nneigh del {old.address} dev lan\n"
            run_ip(_client_routes(client) + gone)
        return replace(self, client=client)

    def reboot(self) -> None:
        """Delete all mappings and flows, as a router does that reboots.

        It works again at once; `LabState.set_cable` emulates the time that a real one is down.
        """
        with linux.inside_network(self.network):
            run_nft(f"flush ruleset\n{self.rules}")
            conntrack.forget_flows()

    def close(self) -> None:
        """Release the NAT's namespace, and with it the NAT."""
        os.close(self.network)


def uplinks(
    reachability: Reachability, address: IPv4Address, gateway: IPv4Address
) -> tuple[Uplink, ...]:
    """Return the uplinks to the region's router for a host of that class: public hosts have both.

    The IPv6 addresses derive from ``address`` and ``gateway``.
    """
    first = Uplink(address=str(address), gateway=str(gateway))
    second = Uplink(address=str(ipv6_of(address)), gateway=str(ipv6_of(gateway)))
    if reachability == "ipv6-only":
        return (second,)
    return (first, second) if reachability == "public" and linux.has_ipv6() else (first,)


def make_nats(reachability: Reachability, cable: Cable) -> list[Nat]:
    """Create the NATs of a host of that class on the region's ``cable``, the outermost first."""
    nats: list[Nat] = []
    try:
        for behaviour in NATS_BY_CLASS[reachability]:
            nats.append(Nat.make(behaviour, nats[-1].client if nats else cable))
            if len(nats) > 1:
                nats[-2].attach()
    except BaseException:
        close(nats)
        raise
    return nats


def _client_routes(client: Cable) -> str:
    """Return the commands that route to the client."""
    address = client.uplinks[0].address
    return (
        f"route add {address} dev lan scope link\n"
        f"neigh add {address} lladdr {client.mac} dev lan nud permanent\n"
    )


def close(nats: Iterable[Nat]) -> None:
    """Release the namespaces of these NATs."""
    for nat in nats:
        nat.close()
