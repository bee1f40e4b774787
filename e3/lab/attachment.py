"""How hosts are attached to their region: by a cable alone, or through NATs that some share."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from e3 import nats
from e3.errors import LabError
from e3.lab import nat
from e3.lab.host import Cable
from e3.lab.http_proxy import PORT
from e3.lab.router import Router, mac
from e3.nats import NatBehaviour


@dataclass(frozen=True)
class HostRequest:
    """A host to be created; ``behaviour`` is that of the NAT before it, None for a public host."""

    name: str
    region: str
    behaviour: NatBehaviour | None

    @classmethod
    def read(cls, name: str, region: str, text: str) -> "HostRequest":
        """Return the request of a client, whose NAT is in the form of `e3.nats.to_text`."""
        return cls(name, region, nats.from_text(f"the NAT of host {name}", text))

    @property
    def key(self) -> str:
        """Under which the region keeps the address: no host has a name with a space."""
        shared = self.behaviour.shared if self.behaviour else ""
        return f"shared {shared}" if shared else self.name


@dataclass
class Attachment:
    """What is between a region's router and one host, or several that share it.

    ``cable`` leads to the router, ``nats`` are between, the outermost first. ``places`` has the
    place of each host in the innermost network.
    """

    request: HostRequest
    cable: Cable
    nats: list[nat.Nat]
    places: dict[str, nat.Place] = field(default_factory=dict)
    _taken: int = 0

    @classmethod
    def make(cls, request: HostRequest, router: Router, port: str, daemon: int) -> "Attachment":
        """Create the NATs, on a cable that ends at the interface ``port`` of the router.

        ``daemon`` is a pidfd of this process.
        """
        address = router.addresses.take(request.key)
        cable = Cable(
            uplinks=nat.uplinks(request.behaviour, address, router.addresses.gateway),
            mac=mac(address),
            gateway_mac=mac(router.addresses.gateway),
            port=port,
            router=router.network,
        )
        return cls(request, cable, nat.make_nats(request.behaviour, cable, daemon))

    def take(self, request: HostRequest) -> None:
        """Give a host its place; raise `LabError` if it wants another NAT, or there is no room."""
        if request.behaviour != self.request.behaviour:
            raise LabError(
                f"host {request.name}: the NAT that it is to share with {self.request.name} "
                "differs from the one asked for; give both the same properties"
            )
        taken = {place.number for place in self.places.values()}
        free = [place for place in range(nats.MOST_SHARING) if place not in taken]
        if not free:
            raise LabError(
                f"host {request.name}: the NAT that it is to share has its {nats.MOST_SHARING} "
                "hosts; use another one"
            )
        self.places[request.name] = nat.Place(number=free[0], port=f"{nat.INSIDE}{self._taken}")
        self._taken += 1  # not the name of a cable that the kernel may still be removing

    @property
    def http_proxy(self) -> str:
        """The address and port of the proxy that alone leads out, empty if there is none."""
        behaviour = self.request.behaviour
        proxied = behaviour is not None and behaviour.passes == "proxy"
        return f"{self.nats[-1].gateway}:{PORT}" if proxied else ""

    def cable_of(self, host: str) -> Cable:
        """Return the host's own cable, to the innermost NAT or to the router."""
        return self.nats[-1].client(self.places[host]) if self.nats else self.cable

    def attach(self, host: str) -> None:
        """Serve a host behind NATs, once its cable is connected."""
        if self.nats:
            self.nats[-1].attach(self.cable_of(host))

    def readdress(self, address: IPv4Address, gateway: IPv4Address) -> Mapping[str, Cable]:
        """Take another address in the region; return the cables of before by host."""
        before = {host: self.cable_of(host) for host in self.places}
        self.cable = replace(
            self.cable, uplinks=nat.uplinks(self.request.behaviour, address, gateway)
        )
        if self.nats:
            self.nats[0] = self.nats[0].readdress(self.cable)
        return before
