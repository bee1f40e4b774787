"""WireGuard: each host knows the others' public keys, and each key has one address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Annotated, ClassVar

import msgspec

from e3.handshakes import Marks
from e3.interfaces import Authority, File, Host, Ingress, Needs, Network
from e3.overlays import addresses, topology
from e3.overlays.topology import can_meet, dials
from e3.overlays.unit import (
    MANY_HOSTS,
    TIMEOUT_SECONDS,
    Members,
    Unit,
    apply,
    on_each_host,
    ready_seconds,
    run_script,
    script,
    text_files,
)
from e3.paths import PathClass, Relayed

SERVICE = "wireguard"
SCRIPT = "wireguard.sh"
DEVICE = "e3-wireguard"
CONFIGURATION = "/run/e3/wireguard"
SECRETS = "/var/lib/e3/wireguard"
PLACES = (CONFIGURATION, SECRETS, DEVICE)
"""The first arguments of the script."""

SESSION_SECONDS = 180
"""After this time WireGuard itself rejects a session (REJECT_AFTER_TIME)."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is kept between deployments: the hosts' public keys by name."""

    keys: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WireGuard:
    """Full mesh of WireGuard tunnels with keys made on the hosts.

    A pair needs one host that the other can reach over UDP. Two hosts that no other can reach
    meet through the hub, the oldest public host, and are then `relayed`. The kernel's WireGuard
    is used if there is one, else wireguard-go.
    """

    needs: ClassVar[Needs] = Needs(
        tools=("wireguard-go",),
        packages=("wireguard-tools",),
        udp=True,
        public_host=True,
        ipv6=True,
        tun=True,
        address_trust="authenticated",
    )
    handshake: ClassVar[str] = "wireguard"

    range: IPv4Network = IPv4Network("10.78.0.0/16")
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 51_820
    mtu: Annotated[int, msgspec.Meta(ge=576, le=9000)] = 1420
    keepalive: Annotated[int, msgspec.Meta(ge=1, le=120)] = 25
    psk: bool = False

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return an address of `range` for each host."""
        return addresses.assign(names, self.range, previous)

    def ingress(self) -> Sequence[Ingress]:
        """Return the port at which WireGuard speaks UDP."""
        return (Ingress(protocol="udp", first=self.port, last=self.port),)

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Let each host make its keys, and tell each the public keys of its peers."""
        del authority
        made = await on_each_host(run_script(h, SCRIPT, *PLACES, "make_keys") for h in hosts)
        keys = {host.name: key.strip() for host, key in zip(hosts, made, strict=True)}
        known = msgspec.convert(previous.memory, Memory) if previous else Memory()
        given = self.assign(list(keys), previous)
        members = Members(hosts=hosts, addresses=given, public=keys, memory=known)
        if self.psk:
            await on_each_host(_share(host, members) for host in hosts)
        told = await on_each_host(self._serve(host, members) for host in hosts)
        # Two first packets that cross cancel each other, and one that arrives too early is lost:
        # either way WireGuard tries again after 5 s. So one side of each pair begins, once all
        # hosts are ready.
        fresh = {name for name, key in keys.items() if known.keys.get(name) != key}
        beginning = [
            host
            for host, news in zip(hosts, told, strict=True)
            if host.name in fresh
            or any(
                dials(host, peer, given) and (peer.name in fresh or keys[peer.name] in news)
                for peer in hosts
            )
        ]
        await on_each_host(self._meet(host, members) for host in beginning or hosts)
        return Network(addresses=given, memory={"keys": keys})

    async def paths(
        self, hosts: Sequence[Host], network: Network
    ) -> Mapping[tuple[str, str], PathClass | Relayed]:
        """Read the sessions of each WireGuard; a pair without its own tunnel is relayed."""
        alive = {
            pair
            for pair, (now, last) in (await _sessions(hosts, network)).items()
            if now - last < SESSION_SECONDS
        }
        hub = _hub(hosts, network.addresses).name
        found: dict[tuple[str, str], PathClass | Relayed] = {}
        for a, b in ((a, b) for a in hosts for b in hosts if a != b):
            legs = [(a.name, b.name)] if can_meet(a, b) else [(a.name, hub), (hub, b.name)]
            met: PathClass | Relayed = "direct" if can_meet(a, b) else Relayed(by=hub)
            found[a.name, b.name] = met if alive.issuperset(legs) else "none"
        return found

    async def handshakes(self, hosts: Sequence[Host], network: Network) -> Marks:
        """Read when each WireGuard had its last handshake with each peer."""
        found = await _sessions(hosts, network)
        return {pair: str(last) for pair, (_, last) in found.items() if last}

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Stop WireGuard and remove its device, files and keys."""
        del network

        async def one(host: Host) -> None:
            await host.access.stop(SERVICE, timeout_seconds=TIMEOUT_SECONDS)
            await run_script(host, SCRIPT, *PLACES, "clean")

        await on_each_host(map(one, hosts))

    async def _serve(self, host: Host, members: Members[str, Memory]) -> Sequence[str]:
        """Start WireGuard on ``host``; return the keys of its new peers."""
        await apply(host, self.plan(host, members))
        # Sessions with unchanged peers survive this; a restart would end them.
        limit = ready_seconds(len(members.hosts))
        said = await run_script(host, SCRIPT, *PLACES, "apply", timeout_seconds=limit)
        return said.splitlines()

    async def _meet(self, host: Host, members: Members[str, Memory]) -> None:
        peers = [peer for peer in members.hosts if dials(host, peer, members.addresses)]
        keys = [members.public[peer.name] for peer in peers]
        limit = ready_seconds(len(members.hosts))
        # Only NATs need signs of life. Of hundreds of hosts on one machine they take processors.
        resting = len(members.hosts) > MANY_HOSTS and topology.is_public(host)
        told = (str(self.keepalive), "resting" if resting else "keeping", *keys)
        await run_script(host, SCRIPT, *PLACES, "meet", *told, timeout_seconds=limit)

    def plan(self, host: Host, members: Members[str, Memory]) -> Sequence[Unit]:
        """Return the unit that runs WireGuard on ``host``. Pure: secrets are paths of files."""
        hub = _hub(members.hosts, members.addresses)
        hidden = [h for h in members.hosts if not topology.is_public(h)]
        relays = host == hub and len(hidden) > 1
        files = {
            "peers.conf": self._peers(host, members, hub=hub, hidden=hidden),
            "interface.sh": self._interface(members.addresses[host.name], relays=relays),
            SCRIPT: script(SCRIPT),
            "wireguard.awk": script("wireguard.awk"),
        }
        serve = ("sh", f"{CONFIGURATION}/{SCRIPT}", *PLACES, "serve")
        return [
            Unit(
                name=SERVICE,
                files=text_files(CONFIGURATION, files),
                argv=(*serve, f"{host.tools}/wireguard-go", str(self.keepalive)),
                environment={"WG_PROCESS_FOREGROUND": "1"},  # else it recommends the kernel's
                ready=("test", "-e", f"{CONFIGURATION}/interface.sh.applied"),
                ready_seconds=ready_seconds(len(members.hosts)),
                rereads=True,
            )
        ]

    def _peers(
        self, host: Host, members: Members[str, Memory], *, hub: Host, hidden: Sequence[Host]
    ) -> str:
        lines = ["[Interface]", f"PrivateKey = {SECRETS}/host.key", f"ListenPort = {self.port}"]
        for peer in members.hosts:
            if peer == host or not can_meet(host, peer):
                continue
            # Packets of a peer are accepted only from these source addresses.
            behind = hidden if peer == hub and host in hidden else []
            allowed = [members.addresses[h.name] for h in (peer, *behind) if h != host]
            key = members.public[peer.name]
            lines += ["", "[Peer]", f"PublicKey = {key}"]
            if self.psk:
                lines.append(f"PresharedKey = {_preshared(key)}")
            lines.append(f"AllowedIPs = {', '.join(f'{address}/32' for address in allowed)}")
            if topology.is_public(peer):
                at = addresses.socket(peer.seen_from(host), self.port)
                lines.append(f"Endpoint = {at}")
        return "\n".join([*lines, ""])

    def _interface(self, address: str, *, relays: bool) -> str:
        lines = [
            f"ip address flush dev {DEVICE}",
            f"ip address add {address}/{self.range.prefixlen} dev {DEVICE}",
            f"ip link set {DEVICE} mtu {self.mtu} up",
            f"echo {relays:d} >/proc/sys/net/ipv4/conf/{DEVICE}/forwarding",
            "for rule in 5182 5183; do ip rule delete pref $rule 2>/dev/null || :; done",
        ]
        if relays:  # forward between members only, not to other networks of the hub
            lines += [
                f"ip rule add pref 5182 iif {DEVICE} to {self.range} lookup main",
                f"ip rule add pref 5183 iif {DEVICE} prohibit",
            ]
        return "\n".join([*lines, ""])


async def _sessions(
    hosts: Sequence[Host], network: Network
) -> Mapping[tuple[str, str], tuple[int, int]]:
    """Return the time on a host and that of its last handshake with a peer, by their names."""
    names = {key: n for n, key in msgspec.convert(network.memory, Memory).keys.items()}
    limit = ready_seconds(len(hosts))
    answers = await on_each_host(
        run_script(h, SCRIPT, *PLACES, "sessions", timeout_seconds=limit) for h in hosts
    )
    found = {}
    for host, answer in zip(hosts, answers, strict=True):
        now, *sessions = answer.splitlines()
        for key, last in (line.split() for line in sessions):
            found[host.name, names.get(key, "")] = int(now), int(last)
    return found


def _hub(hosts: Sequence[Host], given: Mapping[str, str]) -> Host:
    return topology.hub(hosts, given, of="WireGuard")


def _preshared(peer_key: str) -> str:
    """Return the path of the secret that a host shares with the holder of that public key."""
    return f"{SECRETS}/psk/{peer_key.replace('/', '_')}"


async def _share(host: Host, members: Members[str, Memory]) -> None:
    """Let ``host`` make the secrets that it shares with peers of higher keys; copy them there.

    A pre-shared key protects even if the key exchange is broken, so it must not depend on one:
    it is copied through the access to the hosts, in memory only.
    """
    keys = members.public
    own = keys[host.name]
    peers = [h for h in members.hosts if can_meet(host, h) and own < keys[h.name]]
    places = [_preshared(keys[peer.name]) for peer in peers]
    names = [place.rpartition("/")[2] for place in places]
    await run_script(host, SCRIPT, *PLACES, "make_preshared_keys", *names)
    made = await host.access.get(places, timeout_seconds=TIMEOUT_SECONDS)
    for peer, place in zip(peers, places, strict=True):
        file = File(path=_preshared(own), content=made[place], mode=0o600)
        await peer.access.put([file], timeout_seconds=TIMEOUT_SECONDS)
