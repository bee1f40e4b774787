"""Plain: the underlay without an overlay, as the baseline of every comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from e3.interfaces import (
    LAST_PARTY_PORT,
    PARTY_PORT,
    PROBE_PORT,
    Authority,
    Host,
    Ingress,
    Needs,
    Network,
)
from e3.paths import PathClass


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Hosts talk to each other's underlay addresses; nothing is added.

    Whoever can send from, or listen on, a network in between can read and forge
    everything: an address proves nothing here. A host behind a NAT can dial public ones,
    but no host can dial it, so there can be only one.
    """

    needs: ClassVar[Needs] = Needs(open_to_all=True, crosses_nats=False)
    range: ClassVar[None] = None

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return nothing: the fleet has assigned the addresses."""
        del names, previous
        return {}

    def ingress(self) -> Sequence[Ingress]:
        """Return the ports of probe and parties, which no tunnel carries here."""
        return (
            Ingress(protocol="tcp", first=PROBE_PORT, last=PROBE_PORT),
            Ingress(protocol="tcp", first=PARTY_PORT, last=LAST_PARTY_PORT),
        )

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Return the underlay addresses."""
        del authority, previous
        return Network(addresses={host.name: host.underlay for host in hosts})

    async def paths(
        self, hosts: Sequence[Host], network: Network
    ) -> Mapping[tuple[str, str], PathClass]:
        """Return `direct` for each pair: there is nothing that could relay."""
        del network
        return {(a.name, b.name): "direct" for a in hosts for b in hosts if a != b}

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Do nothing: nothing was added."""
