"""libp2p: a program on each host that forwards connections to peers, known by their keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from typing import Annotated, ClassVar, Literal, NewType

import msgspec

from e3.handshakes import Marks
from e3.interfaces import Authority, Host, Ingress, Needs, Network
from e3.overlays import addresses, forwarder, topology
from e3.overlays.forwarder import Forwarder, Memory
from e3.overlays.unit import Members, Unit, apply, on_each_host
from e3.paths import Paths

PeerId = NewType("PeerId", str)

FORWARDER = Forwarder(name="libp2p")
TCP, QUIC = "tcp/{}", "udp/{}/quic-v1"
TRANSPORTS = {"tcp": (TCP,), "both": (TCP, QUIC)}


@dataclass(frozen=True, kw_only=True)
class Libp2p:
    """Streams of libp2p between hosts that know each other by their keys, and no server of others.

    Each host makes an Ed25519 key; the digest of its public half is its peer ID. A program on each
    host admits the stack's peer IDs alone and forwards the connections of parties. Public hosts
    relay for those behind NATs (circuit relay v2), which then connect directly where their NATs
    allow it (DCUtR). The relays cannot read what they forward. https://github.com/libp2p/specs

    With another ``discovery`` than ``list`` hosts are told each other's peer IDs, and find the
    addresses themselves: by multicast on their own network, or by a DHT of the members.
    """

    needs: ClassVar[Needs] = Needs(
        tools=("libp2p",),
        public_host=True,
        punches=True,
        ipv6=True,
        port_443_suffices=True,
        address_trust="authenticated",
    )
    handshake: ClassVar[str] = "libp2p"

    range: IPv4Network = IPv4Network("127.78.0.0/16")
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 4001
    transport: Literal["tcp", "both"] = "tcp"
    security: Literal["tls", "noise"] = "tls"
    discovery: Literal["list", "mdns", "dht"] = "list"
    relay_hosts: Annotated[int, msgspec.Meta(ge=1, le=8)] = 2

    def __post_init__(self) -> None:
        """Reject a range that other hosts could reach."""
        forwarder.check_range(self.range)

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return a loopback address of `range` for each host, the same on all hosts."""
        return addresses.assign(names, self.range, previous)

    def ingress(self) -> Sequence[Ingress]:
        """Return the ports at which nodes listen."""
        tcp = Ingress(protocol="tcp", first=self.port, last=self.port)
        udp = Ingress(protocol="udp", first=self.port, last=self.port)
        return (tcp,) if self.transport == "tcp" else (tcp, udp)

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Let each host make its key, and give every node the peer IDs and places of the others."""
        del authority
        given = self.assign([host.name for host in hosts], previous)
        memory = FORWARDER.relays(hosts, previous, count=self.relay_hosts)
        made = map(PeerId, await on_each_host(map(FORWARDER.identity, hosts)))
        ids = dict(zip((host.name for host in hosts), made, strict=True))
        members = Members(hosts=hosts, addresses=given, public=ids, memory=memory)
        await on_each_host(apply(host, self.plan(host, members)) for host in hosts)
        return Network(addresses=given, memory={"relays": [*memory.relays]})

    async def paths(self, hosts: Sequence[Host], network: Network) -> Paths:
        """Ask each node how it reaches the others."""
        del network
        return await FORWARDER.paths(hosts)

    async def handshakes(self, hosts: Sequence[Host], network: Network) -> Marks:
        """Ask each node which connection leads to each of the others."""
        del network
        return await FORWARDER.handshakes(hosts)

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Stop the nodes and remove their files and keys."""
        del network
        await FORWARDER.remove(hosts)

    def plan(self, host: Host, members: Members[PeerId, Memory]) -> Sequence[Unit]:
        """Return the node of ``host``. Pure: the key is the path of a file."""
        node = {
            "address": members.addresses[host.name],
            "listen": self._at("0.0.0.0", "::"),  # noqa: S104 - all of its addresses
            "announce": self._places(host, host) if topology.is_public(host) else [],
            "security": self.security,
            "discovery": self.discovery,
            "hidden": not topology.is_public(host),
            "relays": host.name in members.memory.relays,
        }
        told = {
            **node,
            "ports": forwarder.ports(members.hosts),
            "peers": [
                {
                    "name": peer.name,
                    "id": members.public[peer.name],
                    "address": members.addresses[peer.name],
                    "addresses": self._told(peer, host, members.memory),
                    "relays": peer.name in members.memory.relays,
                    "dials": forwarder.dials(host, peer, members.addresses),
                    "punches": self._punches(host, peer),
                }
                for peer in forwarder.peers(host, members.hosts)
            ],
        }
        return [
            FORWARDER.unit(
                host, told, keys=FORWARDER.key, restart_on=node, hosts=len(members.hosts)
            )
        ]

    def _punches(self, host: Host, peer: Host) -> bool:
        """Return whether two hidden hosts may connect directly once a relay has joined them.

        Over TCP the NATs need not pass UDP, and each filters by address and port.
        """
        kinds = {host.reachability, peer.reachability}
        if "ipv6-only" in kinds:
            return kinds == {"ipv6-only"}
        return kinds.isdisjoint({"symmetric", "tcp-443-only", "public"})

    def _told(self, peer: Host, host: Host, memory: Memory) -> list[str]:
        """Return the addresses of ``peer`` that ``host`` is told; by a DHT it asks the relays."""
        told = self.discovery == "list" or (self.discovery == "dht" and peer.name in memory.relays)
        return self._places(peer, host) if told and topology.is_public(peer) else []

    def _places(self, peer: Host, host: Host) -> list[str]:
        """Return the addresses at which ``host`` dials ``peer``; those of itself are all it has."""
        if peer.name == host.name:
            return self._at(*filter(None, (host.underlay, host.underlay6)))
        return self._at(peer.seen_from(host))

    def _at(self, *ips: str) -> list[str]:
        return [
            f"/ip{ip_address(ip).version}/{ip}/{transport.format(self.port)}"
            for ip in ips
            for transport in TRANSPORTS[self.transport]
        ]
