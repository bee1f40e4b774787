"""fastd: encrypted Ethernet among hosts that know each other's keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, ClassVar

import msgspec

from e3.interfaces import Authority, Host, Ingress, Needs, Network
from e3.overlays import addresses
from e3.overlays.topology import can_meet, dials, is_public
from e3.overlays.unit import Members, Unit, apply, remove, run_script, text_files
from e3.paths import PathClass
from e3.remote.tasks import gather_or_cancel

SCRIPT = "fastd.sh"
DEVICE = "e3-fastd"
CONFIGURATION = "/run/e3/fastd"
SECRETS = "/var/lib/e3/fastd"


@dataclass(frozen=True, kw_only=True)
class Fastd:
    """An Ethernet segment over UDP, by keys made on the hosts (github.com/neocturne/fastd).

    Each pair has a session of its own and nobody relays, so one host of a pair must be public.
    """

    needs: ClassVar[Needs] = Needs(packages=("fastd",), udp=True, tun=True, crosses_nats=False)

    range: IPv4Network = IPv4Network("10.81.0.0/16")
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 7300
    mtu: Annotated[int, msgspec.Meta(ge=576, le=1500)] = 1380

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return an address of `range` for each host."""
        return addresses.assign(names, self.range, previous)

    def ingress(self) -> Sequence[Ingress]:
        """Return the port at which fastd speaks UDP."""
        return (Ingress(protocol="udp", first=self.port, last=self.port),)

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Let each host make its key, and run fastd with the public ones of all."""
        del authority
        given = self.assign([host.name for host in hosts], previous)
        places = (CONFIGURATION, SECRETS)
        made = await gather_or_cancel(run_script(host, SCRIPT, *places, *given) for host in hosts)
        keys = {host.name: key.strip() for host, key in zip(hosts, made, strict=True)}
        members = Members[str, None](hosts=hosts, addresses=given, public=keys, memory=None)
        # The one that dials comes after the one that it dials: it asks again only after 20 s.
        for host in sorted(
            hosts, key=lambda host: (not is_public(host), IPv4Address(given[host.name]))
        ):
            await apply(host, self.plan(host, members))
        return Network(addresses=given)

    async def paths(
        self, hosts: Sequence[Host], network: Network
    ) -> Mapping[tuple[str, str], PathClass]:
        """Return `direct` for each pair that can have a session: nothing relays."""
        del network
        pairs = [(a, b) for a in hosts for b in hosts if a != b]
        return {(a.name, b.name): "direct" if can_meet(a, b) else "none" for a, b in pairs}

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Stop fastd and remove its files and keys."""
        del network
        await remove(hosts, ["fastd"], CONFIGURATION, SECRETS)

    def plan(self, host: Host, members: Members[str, None]) -> Sequence[Unit]:
        """Return fastd as ``host`` runs it; pure."""
        settings = self._settings(members.addresses[host.name])
        peers = {
            f"peers/{peer.name}": self._peer(host, peer, members)
            for peer in members.hosts
            if peer != host and can_meet(host, peer)
        }
        return [
            Unit(
                name="fastd",
                files=text_files(CONFIGURATION, {"fastd.conf": settings, **peers}),
                argv=("fastd", "--config", f"{CONFIGURATION}/fastd.conf"),
                ready=("sh", "-c", f"ip -o link show up dev {DEVICE} | grep -q ."),
                reload_signal="HUP",  # has it read the folder of peers again, and that alone
                restart_on=settings,
            )
        ]

    def _settings(self, address: str) -> str:
        up = f"ip address add {address}/{self.range.prefixlen} dev {DEVICE}"
        lines = [
            "log level warn;",
            "mode tap;",
            f'interface "{DEVICE}";',
            f"mtu {self.mtu};",
            f"bind any:{self.port};",
            'method "salsa2012+umac";',
            f'include "{SECRETS}/secret.conf";',
            f'include peers from "{CONFIGURATION}/peers";',
            f'on up "{up} && ip link set {DEVICE} up";',
        ]
        return "\n".join([*lines, ""])

    def _peer(self, host: Host, peer: Host, members: Members[str, None]) -> str:
        lines = [f'key "{members.public[peer.name]}";']
        if dials(host, peer, members.addresses):
            at = peer.seen_from(host)
            lines.append(f"remote {f'[{at}]' if ':' in at else at} port {self.port};")
        return "\n".join([*lines, ""])
