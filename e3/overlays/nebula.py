"""Nebula: certificates decide who belongs, hosts find each other through lighthouses."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

import msgspec

from e3.access.together import together
from e3.authority import nebula_cert
from e3.errors import ConfigurationError, OverlayError
from e3.interfaces import (
    Authority,
    File,
    Host,
    Ingress,
    Needs,
    Network,
    PathClass,
    Relayed,
    Service,
    SigningRequest,
)
from e3.overlays import addresses, servers
from e3.overlays.nebula_host import (
    CONFIGURATION,
    CONTROL,
    SECRETS,
    TIMEOUT_SECONDS,
    Keys,
    control,
    host_map,
    make_keys,
)

SERVICE = "nebula"
DEVICE = "nebula1"
GROUP = "party"
DAY_SECONDS = 86_400


@dataclass(frozen=True, kw_only=True)
class Member:
    """A host of the overlay, in public values; ``not_after`` is a Unix time.

    ``earlier`` are certificates for the same key that are still valid, by fingerprint with
    their expiry: they admit the host as well, and are blocked with the current one.
    """

    address: str
    public_key: str
    certificate: str
    fingerprint: str
    not_after: float
    earlier: dict[str, float] = field(default_factory=dict)

    @property
    def valid(self) -> dict[str, float]:
        """The fingerprint of each certificate that admits this host, with its expiry."""
        known = {**self.earlier, self.fingerprint: self.not_after}
        return {fingerprint: end for fingerprint, end in known.items() if end > time.time()}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is kept between deployments: ``authority`` is who signed, as a certificate.

    ``blocklist`` maps fingerprints to their expiry, ``lighthouses`` are names of hosts.
    """

    authority: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    blocklist: dict[str, float] = field(default_factory=dict)
    lighthouses: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Nebula:
    """A mesh of encrypted UDP tunnels between holders of certificates of one authority.

    Public hosts serve as lighthouses, which tell members where the others are, and as relays
    for pairs that cannot reach each other. Whoever holds the authority's key can admit a
    member; a lighthouse learns who talks to whom, a relay carries only what it cannot read.
    Settings as measured against the upstream defaults (github.com/slackhq/nebula,
    examples/config.yml): large buffers double the throughput, and offloads do so again.
    """

    needs: ClassVar[Needs] = Needs(
        sources="proven",
        tools=("nebula",),
        authority="nebula",
        udp=True,
        public_host=True,
        punches=True,
        ipv6=True,
        tun=True,
    )

    range: str = "10.77.0.0/16"
    port: int = 4242
    mtu: int = 1300
    lighthouses: int = 2
    certificate_days: float = 30.0

    def __post_init__(self) -> None:
        """Reject values that Nebula would refuse only on the hosts."""
        addresses.network(self.range, key="range")
        limits = {
            "port": (self.port, 1, 65_535),
            "mtu": (self.mtu, 576, 9000),
            "lighthouses": (self.lighthouses, 1, 16),
            "certificate-days": (self.certificate_days, 0.001, 3650),
        }
        for name, (value, least, most) in limits.items():
            if not least <= value <= most:
                raise ConfigurationError(
                    f"e3:overlay-options: {name} is {value}; write a number from {least} to {most}"
                )

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return an address of `range` for each host."""
        span = addresses.network(self.range, key="range")
        return addresses.assign(names, span, previous.addresses if previous else {})

    def ingress(self) -> Sequence[Ingress]:
        """Return the port at which Nebula speaks UDP."""
        return (Ingress(protocol="udp", first=self.port, last=self.port),)

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Have each host make its keys, sign the public ones, and run Nebula everywhere."""
        if authority is None:
            raise OverlayError("Nebula needs an authority to sign its certificates")
        given = self.assign([host.name for host in hosts], previous)
        known = msgspec.convert(previous.memory, Memory) if previous else Memory()
        keys = dict(
            zip((h.name for h in hosts), await together(map(make_keys, hosts)), strict=True)
        )
        memory = await self.certify(given, keys, authority, known)
        memory = replace(memory, lighthouses=self.choose_lighthouses(hosts, known.lighthouses))
        await together(self._serve(h, hosts, memory, keys[h.name], authority) for h in hosts)
        return Network(
            addresses=given,
            memory=asdict(memory),
            renew_after=min(m.not_after for m in memory.members.values()) - self._margin_seconds,
        )

    async def paths(
        self, hosts: Sequence[Host], network: Network
    ) -> Mapping[tuple[str, str], PathClass | Relayed]:
        """Ask each Nebula for its host map: a current remote is direct, a relay to us relayed."""
        names = {address: name for name, address in network.addresses.items()}
        maps = await together(map(host_map, hosts))
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

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Stop Nebula and remove its files and keys."""
        del network

        async def one(host: Host) -> None:
            await host.access.stop(SERVICE, timeout_seconds=TIMEOUT_SECONDS)
            remove = ["rm", "-rf", CONFIGURATION, SECRETS]
            await host.access.run(remove, timeout_seconds=TIMEOUT_SECONDS)

        await together(map(one, hosts))

    @property
    def _margin_seconds(self) -> float:
        """How long before its expiry a certificate is renewed: a third of its life."""
        return self.certificate_days * DAY_SECONDS / 3

    async def certify(
        self,
        given: Mapping[str, str],
        keys: Mapping[str, Keys],
        authority: Authority,
        known: Memory,
    ) -> Memory:
        """Return what to remember: a valid certificate a host, the shut-out ones blocked."""
        now = time.time()
        span = addresses.network(self.range, key="range")
        due = [
            name
            for name, address in given.items()
            if known.authority != authority.certificate
            or (member := known.members.get(name)) is None
            or member.public_key != keys[name].public_key
            or member.address != f"{address}/{span.prefixlen}"
            or member.not_after - self._margin_seconds < now
        ]
        requests = [
            SigningRequest(
                name=name,
                address=f"{given[name]}/{span.prefixlen}",
                public_key=keys[name].public_key,
                groups=(GROUP,),
                valid_seconds=round(self.certificate_days * DAY_SECONDS),
            )
            for name in due
        ]
        certificates = await authority.sign(requests)
        facts = await together(map(nebula_cert.read, certificates))
        members = {name: known.members[name] for name in given if name not in due}
        for request, certificate, fact in zip(requests, certificates, facts, strict=True):
            last = known.members.get(request.name)
            renews = last is not None and last.public_key == request.public_key
            members[request.name] = Member(
                address=request.address,
                public_key=request.public_key,
                certificate=certificate,
                fingerprint=fact.fingerprint,
                not_after=fact.not_after,
                earlier=last.valid if last is not None and renews else {},
            )
        blocklist = {fp: end for fp, end in known.blocklist.items() if end > now}
        for name, old in known.members.items():
            # A renewed certificate vouches for the same key; only another key blocks the old.
            if name not in members or members[name].public_key != old.public_key:
                blocklist.update(old.valid)
        return Memory(
            authority=authority.certificate,
            members={name: members[name] for name in given},
            blocklist=blocklist,
        )

    async def _serve(
        self,
        host: Host,
        hosts: Sequence[Host],
        memory: Memory,
        keys: Keys,
        authority: Authority,
    ) -> None:
        configuration = self.render(host, hosts, memory)
        files = [
            File(path=f"{CONFIGURATION}/ca.crt", content=authority.certificate.encode()),
            File(
                path=f"{CONFIGURATION}/host.crt",
                content=memory.members[host.name].certificate.encode(),
            ),
            # JSON is YAML, so no writer of YAML can get the quoting wrong.
            File(
                path=f"{CONFIGURATION}/config.yml",
                content=json.dumps(configuration, indent=1).encode(),
            ),
        ]
        await host.access.put(files, timeout_seconds=TIMEOUT_SECONDS)
        # Only pki, lighthouse.hosts, static_host_map, relay and firewall are read again on SIGHUP.
        fixed = {
            "listen": configuration["listen"],
            "tun": configuration["tun"],
            "lighthouse": host.name in memory.lighthouses,
            "authority": authority.certificate,
            "version": keys.version,
        }
        service = Service(
            name=SERVICE,
            argv=(f"{host.tools}/nebula", "-config", f"{CONFIGURATION}/config.yml"),
            environment={"E3_REVISION": _digest(fixed)},
            ready=control(host, "version"),  # answered once the device is up
            revision=_digest([file.content.decode() for file in files]),
            reload_signal="HUP",
        )
        await host.access.start(service, timeout_seconds=TIMEOUT_SECONDS)

    def choose_lighthouses(self, hosts: Sequence[Host], known: Sequence[str]) -> list[str]:
        """Return the names of the lighthouses; only a start makes a Nebula one."""
        return servers.choose(
            hosts,
            known,
            count=self.lighthouses,
            need="Nebula needs {} as lighthouse and relay",
            instead="choose another overlay",
        )

    def render(self, host: Host, hosts: Sequence[Host], memory: Memory) -> dict[str, object]:
        """Return the configuration of Nebula on ``host``; pure."""
        lighthouses = [h for h in hosts if h.name in memory.lighthouses]
        overlay = {name: m.address.partition("/")[0] for name, m in memory.members.items()}
        others = [overlay[h.name] for h in lighthouses if h.name != host.name]
        serving = host in lighthouses
        return {
            "pki": {
                "ca": f"{CONFIGURATION}/ca.crt",
                "cert": f"{CONFIGURATION}/host.crt",
                "key": f"{SECRETS}/host.key",
                "blocklist": sorted(memory.blocklist),
                "disconnect_invalid": True,
            },
            "static_host_map": {
                overlay[h.name]: [addresses.socket(h.seen_from(host), self.port)]
                for h in lighthouses
            },
            "lighthouse": {
                "am_lighthouse": serving,
                "interval": 10,
                # Nebula: this should be empty on lighthouse nodes.
                "hosts": [] if serving else others,
            },
            "listen": {
                # Any address of its own, which may change. One socket of IPv6 serves both kinds,
                # but there is none where the kernel has no IPv6.
                "host": "::" if ":" in host.underlay + host.underlay6 else "0.0.0.0",  # noqa: S104
                "port": self.port,
                "batch": 64,
                "read_buffer": 10_485_760,
                "write_buffer": 10_485_760,
                "udp_offloads": True,
            },
            # A relayed pair is promoted to a direct path with its next packet. Who was called by
            # relay knows no address until it asks a lighthouse: at once, then once a minute.
            "counters": {
                "try_promote": 1,
                "requery_every_packets": 1,
                "requery_wait_duration": "60s",
            },
            # What is gone is given up after 6 s, not 20: a session waits no longer than that.
            "timers": {"connection_alive_interval": 2, "pending_deletion_interval": 3},
            "punchy": {"punch": True, "respond": True, "delay": "1s", "respond_delay": "5s"},
            "relay": {"am_relay": serving, "use_relays": True, "relays": [] if serving else others},
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


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
