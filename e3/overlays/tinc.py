"""tinc 1.0: a mesh that finds its own routes, over TCP where UDP does not pass."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, ClassVar

import msgspec

from e3.errors import ServiceError
from e3.interfaces import Authority, Host, Ingress, Needs, Network
from e3.nats import WITHOUT_UDP
from e3.overlays import addresses, topology
from e3.overlays.topology import can_meet, dials
from e3.overlays.unit import (
    TIMEOUT_SECONDS,
    Members,
    Unit,
    apply,
    digest,
    on_each_host,
    remove,
    run_script,
    script,
    text_files,
)
from e3.paths import PathClass, Relayed
from e3.remote.text import printable

SERVICE = "tinc"
SCRIPT = "tinc.sh"
DEVICE = "e3-tinc"
CONFIGURATION = "/run/e3/tinc"
SECRETS = "/var/lib/e3/tinc"
PLACES = (CONFIGURATION, SECRETS)
"""The first arguments of the script."""

LOG = f"{CONFIGURATION}/log"
DAEMON = ("tincd", "-D", "-c", CONFIGURATION, f"--pidfile={CONFIGURATION}/pid", f"--logfile={LOG}")

KEY_SECONDS = 20
"""The lifetime of session keys if any host gossips. With a new key a host behind a NAT learns the
other's new address, and a pair whose keys arrived in the wrong order talks again. But packets in
flight are then lost. If tinc's own probes are among them, it sends through the hub for some 2.5 s,
until it has found again which size passes (net_packet.c, send_mtu_probe): keys and probes both
change on full seconds, on all hosts, so that they do coincide."""

RESTARTED_KEY_SECONDS = 4
"""The same on a gossiping host that was restarted alone: it does not know the keys of hosts that
still reach it by earlier routes. They ask for new keys when it changes its own, which is sooner
than a session gives up."""

HEADER_BYTES = 14
"""The Ethernet header, which tinc counts as a part of a packet."""

REACHABLE = 0x10
"""The bit of a node's status in tinc's dump (its node.h)."""

NODE = re.compile(
    r"(?P<name>\w+) at .* status (?P<status>[0-9a-f]+) nexthop (?P<nexthop>\S+) via (?P<via>\S+)"
    r" pmtu (?P<mtu>\d+) \(min (?P<passed>\d+)"
)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is kept between deployments: the names of the hosts that gossip."""

    gossips: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Tinc:
    """A mesh of daemons that know each other's RSA keys, made on the hosts.

    Each host keeps a TCP connection to every public one, and sends packets over UDP as soon as
    UDP passes; until then they go over TCP. Two hosts that no other can reach find each other
    through the hub, the oldest public host, which relays if no direct path is found.
    """

    needs: ClassVar[Needs] = Needs(
        packages=("tinc",),
        public_host=True,
        punches=True,
        port_443_suffices=True,
        ipv6=True,
        tun=True,
    )

    range: IPv4Network = IPv4Network("10.79.0.0/16")
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 655
    mtu: Annotated[int, msgspec.Meta(ge=576, le=1500)] = 1420
    keepalive: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 5

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return an address of `range` for each host."""
        return addresses.assign(names, self.range, previous)

    def ingress(self) -> Sequence[Ingress]:
        """Return the port at which tinc speaks TCP and UDP."""
        return (
            Ingress(protocol="tcp", first=self.port, last=self.port),
            Ingress(protocol="udp", first=self.port, last=self.port),
        )

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Let each host make its keys, and start tinc with the public keys of all."""
        del authority
        given = self.assign([host.name for host in hosts], previous)
        before = msgspec.convert(previous.memory, Memory) if previous else Memory()
        memory = Memory(gossips=gossiping(hosts, given, before.gossips))
        nodes = [node(host, given) for host in hosts]
        made = await on_each_host(
            run_script(h, SCRIPT, *PLACES, "make_keys", *nodes) for h in hosts
        )
        keys = {host.name: key for host, key in zip(hosts, made, strict=True)}
        members = Members(hosts=hosts, addresses=given, public=keys, memory=memory)
        told = await on_each_host(self._serve(host, members) for host in hosts)
        # A packet that arrives before its connection is lost; it is resent seconds later.
        changed = [host for host, news in zip(hosts, told, strict=True) if news]
        known = previous.addresses if previous else {}
        meeting = [host for host in changed if host.name not in known] or changed
        hub = topology.hub(hosts, given, of="tinc")
        hidden = [host for host in meeting if _has_outside_port(host)]
        if hidden and hub not in meeting:
            meeting.append(hub)
        greeted = {hub.name: hidden, **{host.name: [hub] for host in hidden}}
        await on_each_host(_meet(h, hosts, given, greeted.get(h.name, ())) for h in meeting)
        return Network(addresses=given, memory=asdict(memory))

    async def paths(
        self, hosts: Sequence[Host], network: Network
    ) -> Mapping[tuple[str, str], PathClass | Relayed]:
        """Read from each tinc by which route it sends to each other host."""
        dumps = await on_each_host(run_script(host, SCRIPT, *PLACES, "dump") for host in hosts)
        names = {node(host, network.addresses): host.name for host in hosts}
        found: dict[tuple[str, str], PathClass | Relayed] = {}
        for host, dump in zip(hosts, dumps, strict=True):
            ways = read_ways(dump, node(host, network.addresses), self.mtu + HEADER_BYTES)
            for each, name in names.items():
                first = ways.get(each)
                way: PathClass | Relayed = "direct" if first == each else "none"
                if first is not None and first != each:
                    way = Relayed(by=names.get(first, ""))
                if name != host.name:
                    found[host.name, name] = way
        return found

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Stop tinc and remove its files and keys."""
        del network
        await remove(hosts, [SERVICE], CONFIGURATION, SECRETS)

    async def _serve(self, host: Host, members: Members[str, Memory]) -> bool:
        """Start tinc on ``host``; return whether any file changed.

        With dozens of connections tinc 1.0.36 sometimes crashes (SIGSEGV) when it rereads its
        files. The restarted daemon has then read them from the start.
        """
        units = self.plan(host, members)
        try:
            return bool(await apply(host, units))
        except ServiceError:
            await _apply_again(host, units)
            return True

    def plan(self, host: Host, members: Members[str, Memory]) -> Sequence[Unit]:
        """Return the unit that runs tinc on ``host``. Pure."""
        given, gossips = members.addresses, host.name in members.memory.gossips
        up = [
            "#!/bin/sh",
            f"ip address add {given[host.name]}/{self.range.prefixlen} dev $INTERFACE",
            f"ip link set $INTERFACE mtu {self.mtu} up",
            "",
        ]
        texts = {
            "tinc.conf": self._settings(host, members),
            SCRIPT: script(SCRIPT),
            **{f"hosts/{node(p, given)}": self._host(p, host, members) for p in members.hosts},
        }
        files = [
            *text_files(CONFIGURATION, texts),
            *text_files(CONFIGURATION, {"tinc-up": "\n".join(up)}, mode=0o755),
        ]
        again = f"-o KeyExpire={RESTARTED_KEY_SECONDS}" if gossips else ""
        options = digest({**asdict(self), "range": str(self.range)})
        return [
            Unit(
                name=SERVICE,
                files=files,
                argv=("sh", f"{CONFIGURATION}/{SCRIPT}", *PLACES, "serve", again, options, *DAEMON),
                ready=("sh", "-c", f"ip -o link show up dev {DEVICE} | grep -q ."),
                # On SIGHUP it rereads hosts and ConnectTo; connections to unchanged hosts stay.
                reload_signal="HUP",
                restart_on=[node(host, given), up, gossips],
            )
        ]

    def _settings(self, host: Host, members: Members[str, Memory]) -> str:
        settings = {
            "Name": node(host, members.addresses),
            "Interface": DEVICE,
            "PrivateKeyFile": f"{SECRETS}/rsa_key.priv",
            "Cipher": "aes-256-cbc",
            "Digest": "sha256",
            "MACLength": "16",  # else 4 bytes
            "StrictSubnets": "yes",  # addresses come from these files, not from members
            "TunnelServer": "no" if host.name in members.memory.gossips else "yes",
            "Broadcast": "no",
            "PingInterval": str(self.keepalive),
            "MaxTimeout": "1",  # the pause between attempts to connect would grow by 5 s each time
        }
        if members.memory.gossips:
            settings["KeyExpire"] = str(KEY_SECONDS)
        lines = [f"{key} = {value}" for key, value in settings.items()]
        dialled = [peer for peer in members.hosts if dials(host, peer, members.addresses)]
        lines += [f"ConnectTo = {node(peer, members.addresses)}" for peer in dialled]
        return "\n".join([*lines, ""])

    def _host(self, peer: Host, reader: Host, members: Members[str, Memory]) -> str:
        place = peer.seen_from(reader)
        reached = [f"Address = {place}"] if topology.is_public(peer) else []
        subnet, key = f"{members.addresses[peer.name]}/32", members.public[peer.name].strip()
        return "\n".join([*reached, f"Port = {self.port}", f"Subnet = {subnet}", key, ""])


def read_ways(dump: str, own: str, largest: int) -> dict[str, str]:
    """Return the next node on the route to each node that a dump of ``own`` calls reachable. Pure.

    It is ``via``, over UDP, for packets up to the size that has passed there, and ``nexthop`` for
    larger ones (net_packet.c, send_udppacket). So while tinc still searches for that size, it is
    ``via`` only if packets of size ``largest`` pass. A ``via`` that is ``own`` means ``nexthop``
    as well.
    """
    ways = {}
    for line in NODE.finditer(dump):
        all_pass = int(line["passed"]) >= min(int(line["mtu"]), largest)
        if int(line["status"], 16) & REACHABLE:
            over_udp = all_pass and line["via"] != own
            ways[line["name"]] = line["via"] if over_udp else line["nexthop"]
    return ways


def node(host: Host, given: Mapping[str, str]) -> str:
    """Return the host's name for tinc: letters, digits, underscores; the hub's sorts first. Pure.

    Of two equally long routes to a third member, tinc requests session keys by the one whose first
    host sorts first by name (graph.c, sssp_bfs); a host that does not gossip would not answer.
    """
    return f"{int(IPv4Address(given[host.name])):08x}_{host.name.replace('-', '_')}"


def gossiping(hosts: Sequence[Host], given: Mapping[str, str], before: Sequence[str]) -> list[str]:
    """Return the hosts that gossip, i.e. learn of third members: the hidden ones and the hub. Pure.

    The others know only the hosts to which they have a connection (`TunnelServer`). With gossip,
    session keys pass through the host that was there first, which could read them. Two keys on
    two routes can also arrive in the wrong order; the pair is then silent until the next exchange.
    A host of ``before`` continues: only a restart ends gossip, and that would end connections.
    """
    hidden = [host for host in hosts if not topology.is_public(host)]
    hub = topology.hub(hosts, given, of="tinc")
    need = {h.name for h in (hub, *hidden)} if len(hidden) > 1 else set()
    return [h.name for h in hosts if h.name in need or h.name in before]


def _has_outside_port(host: Host) -> bool:
    return not topology.is_public(host) and host.reachability not in WITHOUT_UDP


async def _meet(
    host: Host, hosts: Sequence[Host], given: Mapping[str, str], greeted: Sequence[Host]
) -> None:
    """Wait until ``host`` is connected, and packets pass over UDP between it and those ``greeted``.

    Two hidden hosts learn each other's outside port from the hub when they agree on their first
    key, if packets have passed between each and the hub over UDP (protocol_key.c, ans_key_h). Else
    they take the one at which tinc listens, and go by the hub until their second or third key: for
    half a minute if a NAT does not preserve that port, as that of two hosts of one home.
    """
    pairs = [peer for peer in hosts if peer != host and can_meet(host, peer)]
    words = [word for peer in greeted for word in (node(peer, given), given[peer.name])]
    run = (*PLACES, "meet", node(host, given), str(len(pairs)), host.python, *words)
    await run_script(host, SCRIPT, *run)


async def _apply_again(host: Host, units: Sequence[Unit]) -> None:
    try:
        await apply(host, units)
    except ServiceError as error:
        said = await host.access.get([LOG], timeout_seconds=TIMEOUT_SECONDS)
        last = said.get(LOG, b"").decode(errors="replace").splitlines()[-5:]
        raise ServiceError(f"{error}; its own log: {printable(' / '.join(last))}") from error
