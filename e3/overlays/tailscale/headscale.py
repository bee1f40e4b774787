"""Headscale: Tailscale's clients with control server and relay on a host of the stack.

Both are one program at one port, 443 by default. So a host that can use only that port can
join, and is relayed.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

import msgspec
import yaml

from e3.handshakes import Marks
from e3.interfaces import Authority, Host, Ingress, Needs, Network
from e3.overlays import addresses, topology
from e3.overlays.tailscale import client
from e3.overlays.tailscale.headscale_configuration import (
    CONFIGURATION,
    SECRETS,
    SOCKET,
    configuration,
    fingerprint,
    policy,
    relay_map,
)
from e3.overlays.tailscale.status import Answer, AuthKey, Node, Status, User, decode
from e3.overlays.unit import Members, Unit, apply, remove, run_program, run_script, text_files
from e3.paths import Paths
from e3.remote.tasks import beside, each_to_its_end, gather_or_cancel

SERVICE = "headscale"
USER = "e3"
LOGINS_AT_ONCE = 10
"""Each login is sent to all hosts that are logged in, several times."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is kept between deployments: the server's host, and its certificate's fingerprint."""

    server: str = ""
    certificate: str = ""


@dataclass(frozen=True, kw_only=True)
class Headscale:
    """WireGuard tunnels that the stack's own control server arranges, with its own relay.

    Both are Headscale on the first public host; whoever controls that host decides who belongs. The
    relay (DERP) cannot read what it forwards, and serves only nodes that the control server knows.
    No program talks to a server outside the fleet. The configuration is documented in
    github.com/juanfont/headscale, config-example.yaml.
    """

    needs: ClassVar[Needs] = Needs(
        tools=("headscale", "tailscale"),
        packages=("openssl",),
        public_host=True,
        punches=True,
        tun=True,
        address_trust="authenticated",
        control_server=True,
        port_443_suffices=True,
        http_proxies=True,
        ipv6=True,
    )
    range: ClassVar[None] = None
    handshake: ClassVar[str] = "wireguard"

    control_port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 443
    stun_port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 3478
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 41_641
    key_minutes: Annotated[int, msgspec.Meta(ge=1, le=60)] = 5

    def __post_init__(self) -> None:
        """Reject ports that the hosts would refuse."""
        client.check_ports({"stun-port": self.stun_port, "port": self.port})

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return nothing: Headscale gives addresses out of 100.64.0.0/10 as hosts log in."""
        del names, previous
        return {}

    def ingress(self) -> Sequence[Ingress]:
        """Return the ports of control server and relay, and that of the clients."""
        return (
            Ingress(protocol="tcp", first=self.control_port, last=self.control_port),
            Ingress(protocol="udp", first=self.stun_port, last=self.stun_port),
            Ingress(protocol="udp", first=self.port, last=self.port),
        )

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Start the server on a public host, log each host in, and delete all other nodes.

        When the server's host has left, another one takes over: then every host logs in again
        and gets a new address.
        """
        del authority
        before = msgspec.convert(previous.memory, Memory) if previous else Memory()
        server = choose_server(hosts, before)
        certificate = await make_certificate(server)
        memory = Memory(server=server.name, certificate=fingerprint(certificate))
        if previous and before.certificate != memory.certificate:
            # Another server, or the same one made anew, does not know the existing identities.
            await gather_or_cancel(map(client.remove_client, hosts))
        public = {server.name: certificate}
        members = Members(hosts=hosts, addresses={}, public=public, memory=memory)
        known = previous.addresses if previous else {}
        found, joining = await self._admit_all(members, server, known)
        await gather_or_cancel(client.meet(h, hosts, joining) for h in hosts if h.name in joining)
        given = {host.name: found[host.name].address for host in hosts}
        await _expel_others(server, {said.own.public_key for said in found.values()})
        return Network(addresses=given, memory=asdict(memory))

    async def paths(self, hosts: Sequence[Host], network: Network) -> Paths:
        """Ask each client for its current path to each other host."""
        return await client.paths(hosts, network)

    async def handshakes(self, hosts: Sequence[Host], network: Network) -> Marks:
        """Ask each client for its last handshake with each other host."""
        return await client.handshakes(hosts, network)

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Remove client, server and relay with all keys.

        The next `connect` deletes the nodes of hosts that left, as the server need not be among
        ``hosts``; their keys are removed here.
        """
        del network
        await each_to_its_end(map(client.remove_client, hosts))
        await remove(hosts, [SERVICE], CONFIGURATION, SECRETS)

    def plan(self, host: Host, members: Members[str, Memory]) -> Sequence[Unit]:
        """Return the client of ``host``, and control server and relay if it is the server. Pure."""
        certificate = members.public[members.memory.server]
        own = client.unit(host, port=self.port, certificate=certificate)
        if host.name != members.memory.server:
            return [own]
        return [self.server(host, certificate), own]

    def server(self, host: Host, certificate: str) -> Unit:
        """Return control server and relay on ``host``, which has made ``certificate``. Pure."""
        ports = {"control_port": self.control_port, "stun_port": self.stun_port}
        own = configuration(host, url=self.url(host, host), **ports)
        files = {
            "config.json": json.dumps(own, indent=1),
            "policy.json": json.dumps(policy(), indent=1),
            # JSON cannot hold the numbers that are keys here.
            "relay.yaml": yaml.safe_dump(relay_map(host, certificate, **ports)),
        }
        return Unit(
            name=SERVICE,
            files=text_files(CONFIGURATION, files),
            argv=(*_program(host), "serve"),
            ready=("test", "-S", SOCKET),
        )

    def url(self, server: Host, client: Host) -> str:
        """Return the URL of the control server for a client."""
        # https, as the client requests the key of the server's Noise handshake unencrypted: over
        # http, a man in the middle could answer with another key.
        return f"https://{addresses.socket(server.seen_from(client), self.control_port)}"

    async def _admit_all(
        self, members: Members[str, Memory], server: Host, known: Mapping[str, str]
    ) -> tuple[Mapping[str, Status], AbstractSet[str]]:
        """Start server and clients; return each client's status, and which hosts had to log in."""
        at_once = asyncio.Semaphore(LOGINS_AT_ONCE)
        certificate = members.public[server.name]
        found: dict[str, Status] = {}
        joining: set[str] = set()

        async def serve() -> tuple[str, AbstractSet[str]]:
            await apply(server, [self.server(server, certificate)])
            async with beside(_user(server)) as user:
                nodes = await _nodes(server)
                return await user, {node.node_key for node in nodes}

        async def admit(host: Host, serving: asyncio.Task[tuple[str, AbstractSet[str]]]) -> None:
            await apply(host, [client.unit(host, port=self.port, certificate=certificate)])
            said = await client.status(host)
            user, keys = await serving
            if not said.logged_in or said.own.public_key not in keys:
                joining.add(host.name)
                async with at_once:
                    await self._admit(host, server, user)
                    said = await client.status(host)
            found[host.name] = said

        # Newcomers first: a login mostly waits, and the others can be asked meanwhile.
        order = sorted(members.hosts, key=lambda host: host.name in known)
        async with beside(serve()) as serving:
            await gather_or_cancel(admit(host, serving) for host in order)
        return found, joining

    async def _admit(self, host: Host, server: Host, user: str) -> None:
        """Log a host in with a key that can be used once and soon expires."""
        made = await _headscale(
            server,
            AuthKey,
            *("preauthkeys", "create", "--user", user),
            *("--expiration", f"{self.key_minutes}m"),
        )
        await client.log_in(host, control_url=self.url(server, host), auth_key=made.key)


def choose_server(hosts: Sequence[Host], before: Memory) -> Host:
    """Return the server's host: the same as before, else the first public one."""
    (name,) = topology.choose_servers(
        hosts,
        [before.server],
        count=1,
        need="Headscale needs {} for its control server and relay",
        instead="choose tor or tailscale",
    )
    return next(host for host in hosts if host.name == name)


async def make_certificate(server: Host) -> str:
    """Return the certificate that ``server`` has made for its addresses, as PEM."""
    folder = f"{SECRETS}/relay"
    return await run_script(server, "headscale.sh", folder, server.underlay, server.underlay6)


def _program(server: Host) -> tuple[str, ...]:
    return f"{server.tools}/headscale", "--config", f"{CONFIGURATION}/config.json"


async def _user(server: Host) -> str:
    """Return the number of the stack's one user, which is made if it does not exist."""
    users = await _headscale(server, list[User], "users", "list")
    user = users[0] if users else await _headscale(server, User, "users", "create", USER)
    return str(user.id)


async def _nodes(server: Host) -> list[Node]:
    return await _headscale(server, list[Node], "nodes", "list")


async def _expel_others(server: Host, members: AbstractSet[str]) -> None:
    """Delete the nodes whose keys are not among ``members``."""
    for node in await _nodes(server):
        if node.node_key not in members:
            argv = ("nodes", "delete", "--force", "--identifier", str(node.id))
            await _headscale(server, msgspec.Raw, *argv)


async def _headscale(server: Host, kind: type[Answer], *arguments: str) -> Answer:
    """Run Headscale's command line, which uses a socket for root only; return its answer."""
    argv = [*_program(server), "--output", "json", *arguments]
    answer = await run_program(server, argv, f"headscale {' '.join(arguments[:2])}")
    # Go prints an empty list as null.
    said = answer if answer.strip() != "null" else "[]"
    return decode(server, SERVICE, said.encode(), kind)
