"""Tor: each host is an onion service for each of the others, and for nobody else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec

from e3.errors import ConfigurationError, OverlayError
from e3.interfaces import Authority, File, Host, Ingress, Needs, Network
from e3.overlays import addresses, forwarder
from e3.overlays.tor.network import (
    COMMON,
    CONFIGURATION,
    SCRIPT,
    SECRETS,
    SERVERS,
    SMALL,
    TIMEOUT_SECONDS,
    Relays,
    Roles,
    data_of,
)
from e3.overlays.unit import (
    Members,
    Unit,
    apply,
    digest,
    on_each_host,
    remove,
    run_program,
    script,
    text_files,
)
from e3.paths import Paths

PROJECT = Path(__file__).parents[3]
PROXY_FILES = tuple(f"e3/remote/{name}.py" for name in ("__init__", "onion_proxy", "tasks"))
SERVICE = "tor"
PROXY = "tor-gate"  # the onion proxy; hosts of older stacks have a service of this name
STREAMS = "tor-streams"
SOCKS = f"{SECRETS}/socks"  # Tor wants its sockets in a folder that only its user may enter
CONTROL = f"{SECRETS}/control"
READY = f"{CONFIGURATION}/published"
FORWARDING = f"{CONFIGURATION}/forwarding"
PROXY_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from e3.remote.onion_proxy import main; "
    "main(*sys.argv[1:])"
)
SCRIPT_ON_HOST = f"{CONFIGURATION}/{SCRIPT}"
PUBLISH_SECONDS = 120.0
PROBE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class TorKeys:
    """The public halves of a host's keys: one to dial with, one of a service for each peer."""

    key: str
    services: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Tor:
    """Onion services (v3), one for each ordered pair of hosts, open to the holder of one key.

    Six relays lie between two hosts; no relay knows both. Nobody learns who talks to whom, except
    in a private network, whose relays are hosts of the stack. Settings are those of tor(1);
    `Schedulers Vanilla` reduces the time of an echo from 96 to 2 ms.
    """

    needs: ClassVar[Needs] = Needs(
        tools=("tunnel",),
        packages=("openssl", "tor"),
        public_host=True,
        address_trust="authenticated",
        control_server=True,
    )

    range: IPv4Network = IPv4Network("127.77.0.0/16")
    network: Literal["private", "public"] = "private"
    relay_hosts: Annotated[int, msgspec.Meta(ge=1, le=len(SERVERS))] = 1
    port: Annotated[int, msgspec.Meta(ge=1, le=65_000)] = 9001
    bridge: str = ""

    def __post_init__(self) -> None:
        """Reject values that Tor would refuse only on the hosts."""
        forwarder.check_range(self.range)
        if self.bridge and self.network == "private":
            raise ConfigurationError(
                f"e3:overlay-options: bridge is {self.bridge!r}, but a private network has none; "
                "set network: public"
            )

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return a loopback address of `range` for each host, the same on all hosts."""
        return addresses.assign(names, self.range, previous)

    def ingress(self) -> Sequence[Ingress]:
        """Return the ports of the private network's servers; all other hosts only dial."""
        if self.network == "public":
            return ()
        return (Ingress(protocol="tcp", first=self.port, last=self._relays.last_port),)

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Run a network of relays, a Tor on each host, and services for each pair."""
        del authority
        given = self.assign([host.name for host in hosts], previous)
        before = msgspec.convert(previous.memory, Roles) if previous else Roles()
        roles = await self._network(hosts, before)
        made = await on_each_host(_keys(host, hosts) for host in hosts)
        keys = dict(zip((host.name for host in hosts), made, strict=True))
        members = Members(hosts=hosts, addresses=given, public=keys, memory=roles)
        await on_each_host(self._serve(host, members) for host in hosts)
        # Only now: Tor does not soon look again for a service that it has not found.
        try:
            await on_each_host(map(_probe, hosts))
        except OverlayError:
            # Relays that were restarted have forgotten the services, which announce themselves
            # again only after hours; a Tor with an old descriptor does not soon ask for a new one.
            await on_each_host(_restart(host) for host in hosts)
            await on_each_host(self._serve(host, members) for host in hosts)
            await on_each_host(map(_probe, hosts))
        return Network(addresses=given, memory=asdict(roles))

    async def paths(self, hosts: Sequence[Host], network: Network) -> Paths:
        """Return `relayed` for each pair: Tor has no other paths."""
        del network
        return {(a.name, b.name): "relayed" for a in hosts for b in hosts if a.name != b.name}

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Stop everything and remove its files and keys."""
        del network
        await remove(hosts, (STREAMS, PROXY, SERVICE, *SERVERS), CONFIGURATION, SECRETS)

    @property
    def _relays(self) -> Relays:
        return Relays(hosts=self.relay_hosts, port=self.port)

    async def _network(self, hosts: Sequence[Host], before: Roles) -> Roles:
        """Start the relays of a private network; if they changed, start everything anew.

        With so few relays hardly a circuit survives when one of them goes, and Tor would go on
        for hours trying those that it knows.
        """
        roles = await self._identify(hosts, before)
        if before not in (Roles(), roles):
            data = [data_of(name) for name in (*SERVERS, SERVICE)]
            await remove(hosts, (PROXY, SERVICE, *SERVERS), *data)
            roles = await self._identify(hosts, before)
        if self.network == "private":
            await self._relays.serve(hosts, roles)
        return roles

    async def _identify(self, hosts: Sequence[Host], before: Roles) -> Roles:
        if self.network == "public":
            return Roles()
        return await self._relays.identify(hosts, before.carriers)

    async def _serve(self, host: Host, members: Members[TorKeys, Roles]) -> None:
        await apply(host, self._clients(host, members))

    def plan(self, host: Host, members: Members[TorKeys, Roles]) -> Sequence[Unit]:
        """Return the units of ``host``: relays that it runs, its Tor, streams, proxy. Pure."""
        servers: Sequence[Unit] = ()
        if members.memory.carriers:
            servers = self._relays.plan(host, members.hosts, members.memory)
        return [*servers, *self._clients(host, members)]

    def _clients(self, host: Host, members: Members[TorKeys, Roles]) -> Sequence[Unit]:
        torrc = self._configuration(members.memory)
        configuration = _proxy_configuration(host.name, members.addresses, members.public)
        revision = digest([torrc, configuration])
        told = json.dumps({**configuration, "revision": revision}, indent=1)
        places = (f"{CONFIGURATION}/torrc", data_of(SERVICE), SOCKS, CONTROL)
        return [
            Unit(
                name=SERVICE,
                files=text_files(CONFIGURATION, {"torrc": torrc, SCRIPT: script(SCRIPT)}),
                argv=("sh", SCRIPT_ON_HOST, "serve", *places),
                ready=("test", "-S", CONTROL),
            ),
            # Not restarted with Tor: its streams go on over the circuits of the next one.
            Unit(
                name=STREAMS,
                files=text_files(CONFIGURATION, {"onion_proxy.json": told}),
                argv=("sh", SCRIPT_ON_HOST, "ignore_hup", *_streams_command(host)),
                ready=("grep", "-qx", revision, FORWARDING),
                reload_signal="HUP",
            ),
            Unit(
                name=PROXY,
                files=text_files(CONFIGURATION, {"onion_proxy.json": told}),
                argv=("sh", SCRIPT_ON_HOST, "ignore_hup", *_proxy_command(host, "serve")),
                ready=("grep", "-qx", revision, READY),
                ready_seconds=PUBLISH_SECONDS,
                reload_signal="HUP",
                # a new Tor knows no services, so the onion proxy adds them again
                restart_on=[torrc, *map(str, _program().values())],
            ),
        ]

    def _configuration(self, roles: Roles) -> str:
        """Return the configuration of the Tor by which a host dials and is dialled."""
        bridge = f"UseBridges 1\nBridge {self.bridge}\n" if self.bridge else ""
        private = (
            f"TestingTorNetwork 1\nFetchDirInfoEarly 1\n{roles.line}\n{SMALL}" if roles.line else ""
        )
        return f"CookieAuthentication 0\n{COMMON}{bridge}{private}"


def _proxy_configuration(
    name: str, given: Mapping[str, str], keys: Mapping[str, TorKeys]
) -> dict[str, object]:
    """Return what e3/remote/onion_proxy.py and e3-tunnel read on the host ``name``."""
    return {
        "address": given[name],
        "ports": forwarder.ports(given),
        "probe_seconds": PROBE_SECONDS,
        "peers": {
            peer: {
                "address": given[peer],
                "onion": keys[peer].services[name],
                "key": keys[peer].key,
            }
            for peer in sorted(given)
            if peer != name
        },
    }


def _proxy_command(host: Host, *command: str) -> tuple[str, ...]:
    return host.python, "-I", "-S", "-B", "-c", PROXY_START, CONFIGURATION, SECRETS, *command


def _streams_command(host: Host) -> tuple[str, ...]:
    return f"{host.tools}/e3-tunnel", "onions", CONFIGURATION, SECRETS


def _program() -> dict[str, bytes]:
    """Return the files of the onion proxy, by path in `CONFIGURATION`."""
    own = {name: (PROJECT / name).read_bytes() for name in PROXY_FILES}
    return {"e3/__init__.py": b"", **own}


async def _restart(host: Host) -> None:
    for name in (PROXY, SERVICE):
        await host.access.stop(name, timeout_seconds=TIMEOUT_SECONDS)
    await host.access.run(["rm", "-f", READY], timeout_seconds=TIMEOUT_SECONDS)


async def _probe(host: Host) -> None:
    limit = PROBE_SECONDS + TIMEOUT_SECONDS
    await run_program(
        host, _proxy_command(host, "probe"), "the way through Tor", timeout_seconds=limit
    )


async def _keys(host: Host, hosts: Sequence[Host]) -> TorKeys:
    program = [File(path=f"{CONFIGURATION}/{n}", content=text) for n, text in _program().items()]
    await host.access.put(program, timeout_seconds=TIMEOUT_SECONDS)
    peers = [peer.name for peer in hosts if peer.name != host.name]
    command = _proxy_command(host, "keys", *peers)
    made = await run_program(host, command, "making keys of Tor", timeout_seconds=TIMEOUT_SECONDS)
    return msgspec.json.decode(made, type=TorKeys)
