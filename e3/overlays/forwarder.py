"""The kit of overlays that forward connections: a program on each host, and no network interface.

Each host has a loopback address, the same on all hosts. What connects to the address of a peer is
forwarded to that peer, where it arrives from the address of the host that it comes from: so the
address of a connection tells which member made it.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

import msgspec

from e3.errors import ConfigurationError, OverlayError
from e3.handshakes import Marks
from e3.interfaces import PROBE_PORT, Host, Network, party_ports
from e3.overlays import topology
from e3.overlays.unit import (
    Unit,
    on_each_host,
    ready_seconds,
    remove,
    run_program,
    text_files,
)
from e3.paths import Direct, PathClass, Paths, Relayed, Reported
from e3.remote.text import printable

LOOPBACK = IPv4Network("127.0.0.0/8")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is kept between deployments: the hosts that relay."""

    relays: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """How a node reaches a peer; programs may tell more."""

    path: PathClass
    by: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    exchange: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_()+-]{0,40}\Z")] = ""
    connection: Annotated[str, msgspec.Meta(max_length=100)] = ""

    @property
    def reported(self) -> Reported:
        """The path as the overlay's contract has it."""
        if self.path == "relayed" and self.by:
            return Relayed(by=printable(self.by), exchange=self.exchange)
        if self.path == "direct" and self.exchange:
            return Direct(exchange=self.exchange)
        return self.path


def check_range(span: IPv4Network) -> None:
    """Reject a range that other hosts could reach."""
    if not span.subnet_of(LOOPBACK):
        raise ConfigurationError(
            f"e3:overlay-options: range is {str(span)!r}; write a part of {LOOPBACK}, "
            "which every host has for itself"
        )


def dials(host: Host, peer: Host, given: Mapping[str, str]) -> bool:
    """Return whether ``host`` dials ``peer``: of two that only meet at a relay, the newer one."""
    if topology.can_meet(host, peer):
        return topology.dials(host, peer, given)
    return IPv4Address(given[host.name]) > IPv4Address(given[peer.name])


def peers(host: Host, hosts: Sequence[Host]) -> list[Host]:
    """Return the other hosts, by name."""
    return sorted((peer for peer in hosts if peer.name != host.name), key=lambda peer: peer.name)


def ports(hosts: Collection[object]) -> list[int]:
    """Return the ports that are forwarded among ``hosts``: of probes, and of the parties."""
    return [PROBE_PORT, *party_ports(len(hosts))]


@dataclass(frozen=True, kw_only=True)
class Forwarder:
    """The program of an overlay: the service of that ``name``, its files, and what it answers."""

    name: str

    @property
    def configuration(self) -> str:
        """The folder of its settings."""
        return f"/run/e3/{self.name}"

    @property
    def secrets(self) -> str:
        """The folder of its key."""
        return f"/var/lib/e3/{self.name}"

    @property
    def key(self) -> str:
        """The file of its key."""
        return f"{self.secrets}/key"

    def relays(self, hosts: Sequence[Host], previous: Network | None, *, count: int) -> Memory:
        """Choose at most ``count`` hosts that relay: those of ``previous`` as long as they can."""
        before = msgspec.convert(previous.memory, Memory) if previous else Memory()
        chosen = topology.choose_servers(
            hosts,
            before.relays,
            count=count,
            need=f"{self.name} needs {{}} as relay",
            instead="choose tor or tailscale",
        )
        return Memory(relays=tuple(chosen))

    def unit(
        self, host: Host, settings: object, *, keys: str, restart_on: object, hosts: int
    ) -> Unit:
        """Return the node of ``host``, which reads its keys from the place ``keys``. Pure.

        ``hosts`` is the number of all, which start at the same time.
        """
        return Unit(
            name=self.name,
            files=text_files(self.configuration, {"settings.json": json.dumps(settings, indent=1)}),
            argv=(self._program(host), "serve", self.configuration, keys),
            ready=(self._program(host), "paths", self.configuration),
            ready_seconds=ready_seconds(hosts),
            reload_signal="HUP",
            restart_on=restart_on,
        )

    async def identity(self, host: Host) -> str:
        """Return the public half of the host's key, which is made if there is none."""
        return (await self.ask(host, "key", self.key, doing="making its key")).strip()

    async def ask(self, host: Host, *words: str, doing: str) -> str:
        """Return what the program prints; raise `OverlayError` that says what it was ``doing``."""
        return await run_program(host, [self._program(host), *words], doing)

    async def paths(self, hosts: Sequence[Host]) -> Paths:
        """Ask each node how it reaches the others."""
        said = await self._asked(hosts)
        names = [host.name for host in hosts]
        absent = Answer(path="none")
        return {(a, b): said[a].get(b, absent).reported for a in names for b in names if a != b}

    async def handshakes(self, hosts: Sequence[Host]) -> Marks:
        """Ask each node which connection leads to each of the others."""
        return {
            (host, peer): answer.connection
            for host, answers in (await self._asked(hosts)).items()
            for peer, answer in answers.items()
            if answer.connection
        }

    async def remove(self, hosts: Sequence[Host]) -> None:
        """Stop the nodes and remove their files and keys."""
        await remove(hosts, [self.name], self.configuration, self.secrets)

    async def _asked(self, hosts: Sequence[Host]) -> Mapping[str, Mapping[str, Answer]]:
        answered = await on_each_host(map(self._answers, hosts))
        return dict(zip((host.name for host in hosts), answered, strict=True))

    async def _answers(self, host: Host) -> Mapping[str, Answer]:
        said = await self.ask(host, "paths", self.configuration, doing=f"asking {self.name}")
        try:
            return msgspec.json.decode(said, type=dict[str, Answer])
        except msgspec.DecodeError as error:
            raise OverlayError(
                f"{self.name} on host {host.name} does not tell its paths: {printable(error)}"
            ) from None

    def _program(self, host: Host) -> str:
        return f"{host.tools}/e3-{self.name}"
