"""NATs and firewalls: what stands between a host and its region's router.

Terms of RFC 4787 (sections 4.1 and 5): *mapping* says which outside port stands for an inside
one, *filtering* which packets from outside reach it. Linux keeps a source port where it is
free, and a NAT of the lab serves one host alone, so ``masquerade`` maps endpoint-independently
and filters by address and port: the usual home router. ``fully-random`` draws a port for each
destination, from all that are not privileged: left to itself, Linux draws from 600 to 1023 for
tinc's 655, of which two are the same once in 424 times, and then a hole is punched by luck. A full
cone needs a rule of its own: what comes to a port from which the host has lately sent is handed
to it, whoever sends.

To the router itself (chain ``input``) nothing comes but answers and pings. With an open
one, a peer's early packet would be taken for a flow of the router's, its port would count as in
use, and the host's own packets would leave from another: no hole could be punched.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from e3.experiment import Reachability
from e3.lab import conntrack, linux
from e3.lab.addresses import carrier_network, home_network
from e3.lab.host import Cable, run_ip, run_nft, write_sysctls
from e3.lab.router import ROUTER_SYSCTLS, mac

MAPPING_LIFE = "5m"  # RFC 4787, REQ-5, recommends it
OUTSIDE = "wan"


@dataclass(frozen=True, kw_only=True)
class Box:
    """How a NAT behaves: its addresses inside, and what differs from the usual home router.

    ``passes`` is the nft expression that a new flow from inside must match, ``ports`` says from
    where ``masquerade`` takes outside ports; ``full_cone`` filters endpoint-independently.
    """

    inside: Callable[[IPv4Address], IPv4Network] = home_network
    passes: str = ""
    ports: str = ""
    full_cone: bool = False

    def rules(self, client: IPv4Address) -> str:
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


BOXES: Mapping[Reachability, Sequence[Box]] = {
    "public": (),
    "full-cone": (Box(full_cone=True),),
    "port-restricted": (Box(),),
    "symmetric": (Box(ports="to :1024-65535 fully-random"),),
    "cgnat": (Box(inside=carrier_network), Box()),
    "udp-blocked": (Box(passes="meta l4proto != udp"),),
    "tcp-443-only": (Box(passes="tcp dport 443"),),
}
"""What stands between the region's router and a host of each class, the outermost first."""


@dataclass(frozen=True, kw_only=True)
class Nat:
    """A NAT that works; ``network`` is the descriptor that keeps its namespace alive.

    What is behind it hangs on it by ``client``; ``rules`` is its nft ruleset.
    """

    network: int
    client: Cable
    rules: str

    @classmethod
    def make(cls, box: Box, outside: Cable) -> "Nat":
        """Make a NAT that hangs on another router by ``outside``."""
        lan = box.inside(IPv4Address(outside.address))
        gateway, client = lan.network_address + 1, lan.network_address + 2
        rules = box.rules(client)
        network = linux.new_network()
        with linux.inside_network(network):
            write_sysctls(ROUTER_SYSCTLS)
            run_nft(rules)
            outside.lay(OUTSIDE)
        return cls(
            network=network,
            rules=rules,
            client=Cable(
                address=str(client),
                mac=mac(client),
                gateway=str(gateway),
                gateway_mac=mac(gateway),
                port="lan",
                router=network,
            ),
        )

    def plug_in(self) -> None:
        """Serve what hangs on it by now."""
        client = self.client
        with linux.inside_network(self.network):
            run_ip(
                f"link set lan address {client.gateway_mac} up\n"
                f"addr add {client.gateway}/32 dev lan\n"
                f"route add {client.address} dev lan scope link\n"
                f"neigh add {client.address} lladdr {client.mac} dev lan nud permanent\n"
            )

    def reboot(self) -> None:
        """Lose all mappings and all that is known of flows, as a router does that starts anew.

        It is back at once; for how long a real one is away is left to `LabState.set_cable`.
        """
        with linux.inside_network(self.network):
            run_nft(f"flush ruleset\n{self.rules}")
            conntrack.forget_flows()

    def close(self) -> None:
        """Let the NAT go, with all that it holds."""
        os.close(self.network)


def stand_between(reachability: Reachability, cable: Cable) -> list[Nat]:
    """Make the NATs of a host of that class on the region's ``cable``, the outermost first."""
    nats: list[Nat] = []
    try:
        for box in BOXES[reachability]:
            nats.append(Nat.make(box, nats[-1].client if nats else cable))
            if len(nats) > 1:
                nats[-2].plug_in()
    except BaseException:
        close(nats)
        raise
    return nats


def close(nats: Iterable[Nat]) -> None:
    """Let these NATs go."""
    for nat in nats:
        nat.close()
