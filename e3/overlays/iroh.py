"""iroh: a program on each host that forwards connections over QUIC, whose path may change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Annotated, ClassVar

import msgspec

from e3.errors import ConfigurationError
from e3.handshakes import Marks
from e3.interfaces import Authority, Host, Ingress, Needs, Network
from e3.overlays import addresses, forwarder, topology
from e3.overlays.forwarder import Forwarder, Memory
from e3.overlays.unit import Members, Unit, apply, on_each_host
from e3.paths import Paths

FORWARDER = Forwarder(name="iroh")


class Identity(msgspec.Struct, frozen=True):
    """What a host told of itself: its endpoint ID, and as a relay its certificate as PEM."""

    id: str
    certificate: str = ""


@dataclass(frozen=True, kw_only=True)
class Iroh:
    """Streams of iroh between hosts that know each other by their keys, and no server of others.

    Each host makes an Ed25519 key; its public half is its endpoint ID. A program on each host
    admits the stack's endpoint IDs alone and forwards the connections of parties, as streams of one
    QUIC connection a pair. Public hosts relay over TLS for those that do not reach each other, and
    tell all their outside addresses; a path then becomes direct where NATs allow it. Connections
    outlive such changes. The relays cannot read what they forward. https://docs.rs/iroh/1.4.1
    """

    needs: ClassVar[Needs] = Needs(
        tools=("iroh",),
        public_host=True,
        punches=True,
        ipv6=True,
        port_443_suffices=True,
        address_trust="authenticated",
    )
    handshake: ClassVar[str] = "iroh"

    range: IPv4Network = IPv4Network("127.79.0.0/16")
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 4433
    relay_port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 3340
    discovery_port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 7842
    relay_hosts: Annotated[int, msgspec.Meta(ge=1, le=8)] = 2

    def __post_init__(self) -> None:
        """Reject a range that other hosts could reach, and one port for two things."""
        forwarder.check_range(self.range)
        if self.port == self.discovery_port:
            raise ConfigurationError(
                f"e3:overlay-options: port and discovery-port are both {self.port}, of UDP; "
                "choose two"
            )

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return a loopback address of `range` for each host, the same on all hosts."""
        return addresses.assign(names, self.range, previous)

    def ingress(self) -> Sequence[Ingress]:
        """Return the ports of nodes and relays."""
        return (
            Ingress(protocol="udp", first=self.port, last=self.port),
            Ingress(protocol="tcp", first=self.relay_port, last=self.relay_port),
            Ingress(protocol="udp", first=self.discovery_port, last=self.discovery_port),
        )

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Let each host make its key, and give every node the endpoint IDs of the others."""
        del authority
        given = self.assign([host.name for host in hosts], previous)
        memory = FORWARDER.relays(hosts, previous, count=self.relay_hosts)
        made = await on_each_host(_identity(host, memory) for host in hosts)
        identities = dict(zip((host.name for host in hosts), made, strict=True))
        members = Members(hosts=hosts, addresses=given, public=identities, memory=memory)
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

    def plan(self, host: Host, members: Members[Identity, Memory]) -> Sequence[Unit]:
        """Return the node of ``host``. Pure: its keys are in a folder."""
        ports = {"port": self.relay_port, "discovery": self.discovery_port}
        node = {
            "address": members.addresses[host.name],
            "port": self.port,
            "relay": ports if host.name in members.memory.relays else None,
        }
        told = {
            **node,
            "ports": forwarder.ports(members.hosts),
            "relays": [
                {
                    "name": relay.name,
                    "host": _relay_name(relay),
                    "addresses": [relay.seen_from(host)],
                    "certificate": members.public[relay.name].certificate,
                    **ports,
                }
                for relay in members.hosts
                if relay.name in members.memory.relays
            ],
            "peers": [
                {
                    "name": peer.name,
                    "id": members.public[peer.name].id,
                    "address": members.addresses[peer.name],
                    "addresses": self._places(peer, host),
                    "dials": forwarder.dials(host, peer, members.addresses),
                }
                for peer in forwarder.peers(host, members.hosts)
            ],
        }
        return [
            FORWARDER.unit(
                host, told, keys=FORWARDER.secrets, restart_on=node, hosts=len(members.hosts)
            )
        ]

    def _places(self, peer: Host, host: Host) -> list[str]:
        """Return the addresses at which ``host`` dials ``peer``: none, if relays lead to it."""
        if not topology.is_public(peer):
            return []
        return [addresses.socket(peer.seen_from(host), self.port)]


def _relay_name(host: Host) -> str:
    """Return the name in a relay's certificate; no name server knows it."""
    return f"{host.name}.relay.internal"


async def _identity(host: Host, memory: Memory) -> Identity:
    """Return what ``host`` tells of itself; its keys are made if there are none."""
    own = await FORWARDER.identity(host)
    if host.name not in memory.relays:
        return Identity(id=own)
    words = ("certificate", FORWARDER.secrets, _relay_name(host))
    return Identity(
        id=own, certificate=await FORWARDER.ask(host, *words, doing="making its certificate")
    )
