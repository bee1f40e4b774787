"""Nebula: certificates decide who is a member; hosts find each other through lighthouses."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from e3.authority.nebula_members import Membership, certify
from e3.errors import OverlayError
from e3.handshakes import Marks
from e3.interfaces import Authority, Host, Ingress, Needs, Network, Terms
from e3.overlays import addresses, topology
from e3.overlays.unit import (
    MANY_HOSTS,
    Members,
    Unit,
    apply,
    on_each_host,
    ready_seconds,
    remove,
    run_program,
    run_script,
    text_files,
)
from e3.paths import PathClass, Relayed
from e3.remote.text import printable

SERVICE = "nebula"
DEVICE = "nebula1"
GROUP = "party"
CONFIGURATION = "/run/e3/nebula"
CONTROL = f"{CONFIGURATION}/control"
SECRETS = "/var/lib/e3/nebula"
DAY_SECONDS = 86_400
LEAST_VERSION = (1, 12)
"""The first with `nebula ctl`; 1.11.0 lets crafted IPv6 packets pass its firewall (#1840)."""


@dataclass(frozen=True, kw_only=True)
class Memory(Membership):
    """What is kept between deployments; ``lighthouses`` are names of hosts."""

    lighthouses: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class NebulaKeys:
    """The public half of the key that a host made for itself, and the version of its Nebula."""

    public_key: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Peer:
    """An entry of Nebula's host map, with the field names of Nebula.

    ``localIndex`` is drawn anew for each handshake (handshake_manager.go).
    """

    vpnAddrs: list[str]  # noqa: N815
    localIndex: int  # noqa: N815
    currentRemote: str  # noqa: N815
    currentRelaysToMe: list[str] | None = None  # noqa: N815


@dataclass(frozen=True, kw_only=True)
class Nebula:
    """A mesh of encrypted UDP tunnels between holders of certificates of one authority.

    Public hosts serve as lighthouses, which tell members where the others are, and as relays
    for pairs that cannot reach each other. Whoever holds the authority's key can admit a
    member. A lighthouse learns who talks to whom; a relay cannot read what it forwards.
    The settings were measured against the upstream defaults (github.com/slackhq/nebula,
    examples/config.yml): large buffers double the throughput, and offloads double it again.
    """

    needs: ClassVar[Needs] = Needs(
        address_trust="authenticated",
        tools=("nebula",),
        authority="nebula",
        udp=True,
        public_host=True,
        punches=True,
        ipv6=True,
        tun=True,
    )
    handshake: ClassVar[str] = "nebula"

    range: IPv4Network = IPv4Network("10.77.0.0/16")
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 4242
    mtu: Annotated[int, msgspec.Meta(ge=576, le=9000)] = 1300
    lighthouses: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2
    certificate_days: Annotated[float, msgspec.Meta(ge=0.001, le=3650)] = 30.0
    certificate_version: Literal[1, 2] = 2

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return an address of `range` for each host."""
        return addresses.assign(names, self.range, previous)

    def ingress(self) -> Sequence[Ingress]:
        """Return the port at which Nebula speaks UDP."""
        return (Ingress(protocol="udp", first=self.port, last=self.port),)

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Let each host make its key, sign the public keys, and start Nebula on all hosts."""
        if authority is None:
            raise OverlayError("Nebula needs an authority to sign its certificates")
        given = self.assign([host.name for host in hosts], previous)
        known = msgspec.convert(previous.memory, Memory) if previous else Memory()
        made = await on_each_host(map(_make_keys, hosts))
        keys = {host.name: each for host, each in zip(hosts, made, strict=True)}
        placed = {name: f"{address}/{self.range.prefixlen}" for name, address in given.items()}
        public_keys = {name: each.public_key for name, each in keys.items()}
        admitted = await certify(known, placed, public_keys, authority, self.terms)
        lighthouses = self.choose_lighthouses(hosts, known.lighthouses)
        memory = Memory(**vars(admitted), lighthouses=lighthouses)
        members = Members(hosts=hosts, addresses=given, public=keys, memory=memory)
        await on_each_host(apply(host, self.plan(host, members)) for host in hosts)
        ends = min(member.not_after for member in memory.members.values())
        return Network(
            addresses=given,
            memory=asdict(memory),
            renew_after=ends - self.terms.margin_seconds,
        )

    async def paths(
        self, hosts: Sequence[Host], network: Network
    ) -> Mapping[tuple[str, str], PathClass | Relayed]:
        """Read the host map of each Nebula: a current remote is direct, a relay to us relayed."""
        names = {address: name for name, address in network.addresses.items()}
        maps = await on_each_host(map(_host_map, hosts))
        found: dict[tuple[str, str], PathClass | Relayed]
        found = {(a.name, b.name): "none" for a in hosts for b in hosts if a != b}
        for host, entries in zip(hosts, maps, strict=True):
            for entry in entries:
                name = next(filter(None, map(names.get, entry.vpnAddrs)), "")
                if (host.name, name) not in found:
                    continue
                if entry.currentRemote:
                    found[host.name, name] = "direct"
                elif relays := entry.currentRelaysToMe:
                    found[host.name, name] = Relayed(by=names.get(relays[0], ""))
        return found

    async def handshakes(self, hosts: Sequence[Host], network: Network) -> Marks:
        """Read which tunnel of each Nebula leads to each peer."""
        names = {address: name for name, address in network.addresses.items()}
        maps = await on_each_host(map(_host_map, hosts))
        return {
            (host.name, name): str(entry.localIndex)
            for host, entries in zip(hosts, maps, strict=True)
            for entry in entries
            if (name := next(filter(None, map(names.get, entry.vpnAddrs)), ""))
        }

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Stop Nebula and remove its files and keys."""
        del network
        await remove(hosts, [SERVICE], CONFIGURATION, SECRETS)

    @property
    def terms(self) -> Terms:
        """The terms of certificates, which are renewed in the last third of their validity."""
        seconds = self.certificate_days * DAY_SECONDS
        return Terms(
            groups=(GROUP,),
            valid_seconds=seconds,
            margin_seconds=seconds / 3,
            key_file=f"{SECRETS}/host.pub",
            version=self.certificate_version,
        )

    def choose_lighthouses(self, hosts: Sequence[Host], known: Sequence[str]) -> list[str]:
        """Return the names of the lighthouses; a host becomes one only by a restart of Nebula."""
        return topology.choose_servers(
            hosts,
            known,
            count=self.lighthouses,
            need="Nebula needs {} as lighthouse and relay",
            instead="choose another overlay",
        )

    def plan(self, host: Host, members: Members[NebulaKeys, Memory]) -> Sequence[Unit]:
        """Return the unit that runs Nebula on ``host``. Pure."""
        memory = members.memory
        configuration = self._configuration(host, members)
        files = {
            "ca.crt": memory.authority,
            "host.crt": memory.members[host.name].certificate,
            # JSON is YAML, so no writer of YAML can get the quoting wrong.
            "config.yml": json.dumps(configuration, indent=1),
        }
        return [
            Unit(
                name=SERVICE,
                files=text_files(CONFIGURATION, files),
                argv=(f"{host.tools}/nebula", "-config", f"{CONFIGURATION}/config.yml"),
                ready=_control(host, "version"),  # answered once the device is up
                ready_seconds=ready_seconds(len(members.hosts)),
                # On SIGHUP it rereads only pki, lighthouse.hosts, static_host_map, relay, firewall.
                reload_signal="HUP",
                restart_on={
                    "listen": configuration["listen"],
                    "tun": configuration["tun"],
                    "lighthouse": host.name in memory.lighthouses,
                    "authority": memory.authority,
                    "version": members.public[host.name].version,
                },
            )
        ]

    def _configuration(self, host: Host, members: Members[NebulaKeys, Memory]) -> dict[str, Any]:
        memory, given = members.memory, members.addresses
        lighthouses = [h for h in members.hosts if h.name in memory.lighthouses]
        others = [given[h.name] for h in lighthouses if h.name != host.name]
        serving = host in lighthouses
        crowded = len(members.hosts) > MANY_HOSTS
        direct = serving or (crowded and topology.is_public(host))
        # Each first packet to a host is also a question to all lighthouses: of hundreds of hosts on
        # one machine they had no processors left to answer. Those who know all others ask nobody.
        public = [h for h in members.hosts if topology.is_public(h)]
        known = public if crowded else lighthouses
        asks = not serving and len(known) < len(members.hosts)
        return {
            "pki": {
                "ca": f"{CONFIGURATION}/ca.crt",
                "cert": f"{CONFIGURATION}/host.crt",
                "key": f"{SECRETS}/host.key",
                "blocklist": sorted(memory.blocklist),
                "disconnect_invalid": True,
            },
            "static_host_map": {
                given[h.name]: [addresses.socket(h.seen_from(host), self.port)] for h in known
            },
            "lighthouse": {
                "am_lighthouse": serving,
                "interval": 10,
                # Nebula's documentation: this should be empty on lighthouse nodes.
                "hosts": others if asks else [],
            },
            "listen": {
                # Listen on all addresses, as they may change. An IPv6 socket serves both kinds,
                # but cannot be opened where the kernel has no IPv6.
                "host": "::" if ":" in host.underlay + host.underlay6 else "0.0.0.0",  # noqa: S104
                "port": self.port,
                "batch": 64,
                "read_buffer": 10_485_760,
                "write_buffer": 10_485_760,
                "udp_offloads": True,
            },
            # A relayed pair moves to a direct path with its next packet. A host that was called
            # by relay knows no address until it asks a lighthouse: at once, then once a minute.
            "counters": {
                "try_promote": 1,
                "requery_every_packets": 1,
                "requery_wait_duration": "60s",
            },
            # A dead tunnel is dropped after 6 s, not 20: a session waits no longer than that. Of
            # many hosts on one machine each is silent for as long, as the others have processors.
            "timers": {
                "connection_alive_interval": 20 if crowded else 2,
                "pending_deletion_interval": 40 if crowded else 3,
            },
            **({"handshakes": {"try_interval": "1s"}} if crowded else {}),
            # A public host has no NAT whose mapping packets must keep alive.
            "punchy": {
                "punch": not topology.is_public(host),
                "respond": True,
                "delay": "1s",
                "respond_delay": "5s",
            },
            # A handshake asks all relays of a peer at once, and a public one is reached anyway.
            "relay": {"am_relay": serving, "use_relays": True, "relays": [] if direct else others},
            "tun": {
                "dev": DEVICE,
                "mtu": self.mtu,
                "tx_queue": 5000,
                "use_offloads": True,
                "drop_local_broadcast": True,
                "drop_multicast": True,
            },
            "logging": {"level": "info", "format": "json"},
            "local_api": {"control": {"socket": CONTROL}},
            "firewall": {
                "outbound": [{"port": "any", "proto": "any", "host": "any"}],
                "inbound": [{"port": "any", "proto": "any", "group": GROUP}],
            },
        }


async def _make_keys(host: Host) -> NebulaKeys:
    """Let a host make its key if it has none; `OverlayError` if its Nebula is too old."""
    made = await run_script(host, "nebula.sh", SECRETS, host.tools)
    first, _, public_key = made.partition("\n")
    version = first.removeprefix("Version: ")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < LEAST_VERSION:
        raise OverlayError(
            f"host {host.name} has Nebula {printable(version)} in {host.tools}, which is older "
            f"than {'.'.join(map(str, LEAST_VERSION))}; `scripts/setup` builds a newer one for "
            "hosts to which E3 brings it, others need another image"
        )
    return NebulaKeys(public_key=public_key, version=version)


def _control(host: Host, *words: str) -> tuple[str, ...]:
    """Return a command for the Nebula on a host, through its socket, which only root can use."""
    return f"{host.tools}/nebula", "ctl", "-socket", CONTROL, *words


async def _host_map(host: Host) -> list[Peer]:
    answer = await run_program(host, _control(host, "list-hostmap", "-json"), "nebula ctl")
    try:
        return msgspec.json.decode(answer, type=list[Peer])
    except msgspec.MsgspecError:
        raise OverlayError(
            f"Nebula on {host.name} does not show its host map: {printable(answer)}; "
            "`pulumi refresh`, then `pulumi up` start it again"
        ) from None
