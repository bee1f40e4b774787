"""Headscale: Tailscale's clients with control server and relay on a host of our own.

Both are one program at one port, 443 unless told otherwise: so who can use that port alone can
join, and is relayed.
"""

import asyncio
import hashlib
import json
import ssl
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

from e3.access.together import together
from e3.errors import ConfigurationError, OverlayError
from e3.interfaces import (
    LAST_PARTY_PORT,
    PARTY_PORT,
    PROBE_PORT,
    Authority,
    File,
    Host,
    Ingress,
    Needs,
    Network,
    Paths,
    Service,
)
from e3.overlays import addresses, servers
from e3.overlays import tailscale_client as client
from e3.overlays.tailscale_client import TIMEOUT_SECONDS

SERVICE = "headscale"
CONFIGURATION = "/run/e3/headscale"
SECRETS = "/var/lib/e3/headscale"
SOCKET = f"{CONFIGURATION}/headscale.sock"
USER = "e3"
REGION = 900  # Tailscale leaves 900 to 999 to relays of one's own
LOGINS_AT_ONCE = 10
"""Each login tells all who are there of it, several times."""

MAKE_CERTIFICATE = """
set -eu; umask 077; mkdir -p "$1"; cd "$1"
[ -s "$2.crt" ] || {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \\
    -subj "/CN=$2" -addext "subjectAltName=IP:$2${3:+,IP:$3}" -keyout "$2.key" -out new 2>&1
  mv new "$2.crt"
}
"""


@dataclass(frozen=True, kw_only=True)
class Headscale:
    """WireGuard tunnels that our own control server arranges, with our own relay beside it.

    Both are Headscale on the first public host; whoever controls that host decides who belongs. The
    relay (DERP) carries what it cannot read, and serves nobody whom the control server does not
    know. No program talks to any server outside of the fleet. Configuration as documented in
    github.com/juanfont/headscale, config-example.yaml.
    """

    needs: ClassVar[Needs] = Needs(
        tools=("headscale", "tailscale"),
        packages=("openssl",),
        public_host=True,
        punches=True,
        tun=True,
        sources="proven",
        control_server=True,
        port_443_suffices=True,
        ipv6=True,
    )

    control_port: int = 443
    stun_port: int = 3478
    port: int = 41_641
    key_minutes: int = 5

    def __post_init__(self) -> None:
        """Reject values that the hosts would refuse."""
        client.check_ports({"control-port": self.control_port})
        client.check_ports({"stun-port": self.stun_port, "port": self.port})
        if not 1 <= self.key_minutes <= 60:  # noqa: PLR2004 - an hour
            raise ConfigurationError(
                f"e3:overlay-options: key-minutes is {self.key_minutes}; write a number from 1 "
                "to 60"
            )

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
        """Serve from a public host, have each host log in there, and delete all other nodes.

        When the server's host has left, another one takes over: then every host logs in anew
        and gets a new address.
        """
        del authority
        server = choose_server(hosts, previous)
        certificate = await self.certificate(server)
        digest = _fingerprint(certificate)
        if previous and previous.memory.get("certificate") != digest:
            # Another server, or the same one built anew: to it, all the identities are unknown.
            await asyncio.gather(*map(client.remove_client, hosts))

        control = asyncio.create_task(self._serve(server, certificate))
        at_once = asyncio.Semaphore(LOGINS_AT_ONCE)
        joining: set[str] = set()

        async def admitted(host: Host) -> Mapping[str, Any]:
            await client.run_client(host, port=self.port, certificate=certificate)
            said = await client.status(host)
            user, nodes = await control
            if not client.logged_in(said) or _key(said) not in _keys(nodes):
                joining.add(host.name)
                async with at_once:
                    await self._admit(host, server, user)
                    said = await client.status(host)
            return said

        # Newcomers first: a login is mostly waiting, and the others can be asked meanwhile.
        known = previous.addresses if previous else {}
        order = sorted(hosts, key=lambda host: host.name in known)
        found = dict(zip(order, await together(map(admitted, order)), strict=True))
        await together(client.meet(h, hosts, joining) for h in hosts if h.name in joining)
        given = {host.name: client.address(found[host]) for host in hosts}
        await _expel_others(server, {_key(said) for said in found.values()})
        return Network(addresses=given, memory={"server": server.name, "certificate": digest})

    async def paths(self, hosts: Sequence[Host], network: Network) -> Paths:
        """Ask each client for the present path to each other host."""
        return await client.paths(hosts, network)

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Remove client, server and relay with all keys; what leaves alone is deleted by id.

        The deletion is a part of the next `connect`, as the server need not be among ``hosts``;
        the keys of a host are gone here and now.
        """
        del network

        async def one(host: Host) -> None:
            access = host.access
            await client.remove_client(host)
            await access.stop(SERVICE, timeout_seconds=TIMEOUT_SECONDS)
            await access.run(["rm", "-rf", CONFIGURATION, SECRETS], timeout_seconds=TIMEOUT_SECONDS)

        await asyncio.gather(*map(one, hosts))

    async def certificate(self, server: Host) -> str:
        """Return the certificate that the server made for its addresses."""
        folder = f"{SECRETS}/relay"
        done = await server.access.run(
            ["sh", "-c", MAKE_CERTIFICATE, "sh", folder, server.underlay, server.underlay6],
            timeout_seconds=TIMEOUT_SECONDS,
        )
        if done.exit:
            raise OverlayError(f"host {server.name} could not make a certificate: {done.complaint}")
        place = f"{folder}/{server.underlay}.crt"
        files = await server.access.get([place], timeout_seconds=TIMEOUT_SECONDS)
        return files[place].decode()

    async def _serve(
        self, server: Host, certificate: str
    ) -> tuple[str, Sequence[Mapping[str, Any]]]:
        """Have the control server running; return its user, and the nodes that it knows."""
        await self.serve_control(server, certificate)
        user, nodes = await asyncio.gather(_user(server), _nodes(server))
        return user, nodes

    async def serve_control(self, server: Host, certificate: str) -> None:
        """Have control server and relay running."""
        contents = {
            "config.json": json.dumps(self.render(server), indent=1),
            "policy.json": json.dumps(render_policy(), indent=1),
            # JSON cannot hold the numbers that are keys here.
            "relay.yaml": yaml.safe_dump(self.render_relay(server, certificate)),
        }
        files = [
            File(path=f"{CONFIGURATION}/{name}", content=text.encode())
            for name, text in contents.items()
        ]
        await server.access.put(files, timeout_seconds=TIMEOUT_SECONDS)
        service = Service(
            name=SERVICE,
            argv=(*_program(server), "serve"),
            ready=("test", "-S", SOCKET),
            revision=hashlib.sha256(b"".join(file.content for file in files)).hexdigest(),
        )
        await server.access.start(service, timeout_seconds=TIMEOUT_SECONDS)

    async def _admit(self, host: Host, server: Host, user: str) -> None:
        """Have a host log in with a key that serves once and soon expires."""
        made = await _headscale(
            server,
            *("preauthkeys", "create", "--user", user),
            *("--expiration", f"{self.key_minutes}m"),
        )
        await client.log_in(host, control_url=self.url(server, host), auth_key=made["key"])

    def url(self, server: Host, client: Host) -> str:
        """Return where a client finds the control server."""
        # https, as the client asks for the key of the server's Noise handshake in the clear:
        # over http, whoever sits in between could answer with one of his own.
        return f"https://{addresses.socket(server.seen_from(client), self.control_port)}"

    def render(self, server: Host) -> dict[str, object]:
        """Return the configuration of Headscale on ``server``; pure."""
        place = f"{SECRETS}/relay/{server.underlay}"
        return {
            "server_url": self.url(server, server),
            "listen_addr": f"[::]:{self.control_port}",
            # Neither is used; names that cannot be resolved would keep Headscale from starting.
            "metrics_listen_addr": "127.0.0.1:0",
            "grpc_listen_addr": "127.0.0.1:0",
            "grpc_allow_insecure": False,
            "noise": {"private_key_path": f"{SECRETS}/noise.key"},
            "tls_cert_path": f"{place}.crt",
            "tls_key_path": f"{place}.key",
            "prefixes": {"v4": "100.64.0.0/10", "allocation": "sequential"},
            "derp": {
                "server": {
                    "enabled": True,
                    "automatically_add_embedded_derp_region": False,  # ours names the certificate
                    "verify_clients": True,
                    "private_key_path": f"{SECRETS}/relay.key",
                    "stun_listen_addr": f"[::]:{self.stun_port}",
                    "region_id": REGION,
                },
                "urls": [],
                "paths": [f"{CONFIGURATION}/relay.yaml"],
                "auto_update_enabled": False,
            },
            "disable_check_updates": True,
            "ephemeral_node_inactivity_timeout": "30m",
            "database": {
                "type": "sqlite",
                "sqlite": {"path": f"{SECRETS}/db.sqlite", "write_ahead_log": True},
            },
            "log": {"format": "text", "level": "info"},
            "policy": {"mode": "file", "path": f"{CONFIGURATION}/policy.json"},
            "dns": {
                "magic_dns": False,
                "base_domain": "e3.internal",
                "override_local_dns": False,
                "nameservers": {"global": []},
            },
            "unix_socket": SOCKET,
            "unix_socket_permission": "0700",
            "logtail": {"enabled": False},
            # Made for thousands of hosts, its delays make few hosts wait: changes reach clients
            # after the first, by default 800 ms, and some answers of a login come after the second,
            # 500 ms. Who has more changes waiting than fit, 30 by default, and takes none for 50 ms
            # is told nothing any more (batcher_lockfree.go): dozens who join at once may have.
            "tuning": {
                "batch_change_delay": "50ms",
                "node_store_batch_timeout": "20ms",
                "node_mapsession_buffered_chan_size": 4096,
                "batcher_workers": 1,  # several may tell a change before the one that it builds on
            },
        }

    def render_relay(self, server: Host, certificate: str) -> dict[str, object]:
        """Return the map of relays, which names the certificate of ours; pure."""
        known = [server.underlay, *filter(None, [server.underlay6])]
        node = {
            "name": f"{REGION}a",
            "regionid": REGION,
            "hostname": server.underlay,
            "certname": f"sha256-raw:{_fingerprint(certificate)}",
            "ipv4": next((address for address in known if ":" not in address), "none"),
            "ipv6": next((address for address in known if ":" in address), "none"),
            "stunport": self.stun_port,
            "stunonly": False,
            "derpport": self.control_port,
            "canport80": False,
        }
        return {
            "regions": {
                REGION: {
                    "regionid": REGION,
                    "regioncode": server.name,  # by which clients call it
                    "regionname": f"Relay on {server.name}",
                    "nodes": [node],
                }
            }
        }


def render_policy() -> dict[str, object]:
    """Return who may reach whom: the stack's hosts each other, at the ports of sessions alone.

    There are no other nodes; to name these by their user would not admit less. But Headscale 0.28
    forgets one of two that log in at once where a rule depends on who is there (`SetNodes`).
    """
    ports = f"{PROBE_PORT},{PARTY_PORT}-{LAST_PARTY_PORT}"
    return {"acls": [{"action": "accept", "proto": "tcp", "src": ["*"], "dst": [f"*:{ports}"]}]}


def choose_server(hosts: Sequence[Host], previous: Network | None) -> Host:
    """Return the host that serves: the one that did, else the first public one."""
    known = [str(previous.memory.get("server"))] if previous else []
    (name,) = servers.choose(
        hosts,
        known,
        count=1,
        need="Headscale needs {} for its control server and relay",
        instead="choose tor or tailscale",
    )
    return next(host for host in hosts if host.name == name)


def _fingerprint(certificate: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def _keys(nodes: Sequence[Mapping[str, Any]]) -> AbstractSet[str]:
    return {node["node_key"] for node in nodes}


def _key(said: Mapping[str, Any]) -> str:
    return str(said["Self"]["PublicKey"])


def _program(server: Host) -> tuple[str, ...]:
    return f"{server.tools}/headscale", "--config", f"{CONFIGURATION}/config.json"


async def _user(server: Host) -> str:
    """Return the number of the stack's one user, made if it is not there."""
    users = await _headscale(server, "users", "list") or []
    if not users:
        users = [await _headscale(server, "users", "create", USER)]
    return str(users[0]["id"])


async def _nodes(server: Host) -> list[dict[str, Any]]:
    return await _headscale(server, "nodes", "list") or []


async def _expel_others(server: Host, members: AbstractSet[str]) -> None:
    """Delete the nodes whose keys are not of these."""
    for node in await _nodes(server):
        if node["node_key"] not in members:
            argv = ("nodes", "delete", "--force", "--identifier", str(node["id"]))
            await _headscale(server, *argv)


async def _headscale(server: Host, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    """Return the answer of Headscale's own command line, which reaches it by a socket of root's."""
    argv = [*_program(server), "--output", "json", *arguments]
    done = await server.access.run(argv, timeout_seconds=TIMEOUT_SECONDS)
    if done.exit:
        what = f"headscale {arguments[0]} {arguments[1]} on {server.name}"
        raise OverlayError(f"{what}: {done.complaint}")
    return json.loads(done.stdout)
