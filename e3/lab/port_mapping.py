"""A home router's service that maps outside ports for hosts inside: NAT-PMP and PCP.

One process a NAT, which dies with the lab's daemon. What it grants stands in two maps of the NAT's
ruleset (`e3.lab.nat_rules`). Debian 12's miniupnpd, which also speaks UPnP, serves no NAT whose
outside address is in a reserved range, as all of a lab's are (RFC 2544).
"""

import contextlib
import random
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from e3.errors import LabError
from e3.lab import linux
from e3.lab.helper import HelperProcess
from e3.lab.host import run_nft
from e3.lab.port_requests import MOST_BYTES, PORT, Protocol, Question, Router, Wish, read

MOST_MAPPINGS = 1000
MOST_SECONDS = 7200  # RFC 6886, 3.3, recommends it
FIRST_PORT = 1024
ELSEWHERE = "198.18.0.1", 9
"""An address outside: which own address leads there is asked, and nothing sent."""

Inside = tuple[Protocol, IPv4Address, int]


@dataclass
class Mappings:
    """The outside ports that are granted, each to an inside endpoint until some time."""

    chance: random.Random = field(default_factory=random.SystemRandom)
    _granted: dict[Inside, tuple[int, float]] = field(default_factory=dict)

    def grant(self, inside: Inside, wanted_port: int, until: float) -> int | None:
        """Return the outside port, the wanted one if it is free; None if there are too many."""
        if len(self._granted) >= MOST_MAPPINGS:
            return None
        taken = {port for (name, *_), (port, _) in self._granted.items() if name == inside[0]}
        port = wanted_port
        while port < FIRST_PORT or port in taken:
            port = self.chance.randrange(FIRST_PORT, 1 << 16)
        self._granted[inside] = port, until
        return port

    def expired(self, now: float) -> Sequence[Inside]:
        """Return what is granted no longer."""
        return [inside for inside, (_, until) in self._granted.items() if until <= now]

    def take(self, inside: Inside) -> int | None:
        """Take back and return the outside port, None if there is none."""
        return self._granted.pop(inside, (None, 0.0))[0]

    def next(self) -> float:
        """Return when the next one expires."""
        return min((until for _, until in self._granted.values()), default=float("inf"))


@dataclass
class PortMapper:
    """The service at the address ``gateway`` inside."""

    gateway: str
    process: HelperProcess

    def start(self) -> None:
        """Start it, with no mapping; raise `LabError` if it cannot serve."""
        with (
            linux.inside_network(self.process.network),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening,
        ):
            try:
                listening.bind((self.gateway, PORT))
            except OSError as error:
                reason = f"a NAT cannot serve port mappings: {error.strerror}"
                raise LabError(reason) from error
            self.process.start([listening.fileno()], lambda: serve(listening))

    def stop(self) -> None:
        """End it."""
        self.process.stop()


def serve(listening: socket.socket) -> None:
    """Answer requests until the process is killed."""
    mappings, began = Mappings(), time.monotonic()
    while True:
        left = max(0.0, mappings.next() - time.monotonic())
        ready = select.select([listening], [], [], min(left, MOST_SECONDS))[0]
        for inside in mappings.expired(time.monotonic()):
            _withdraw(mappings, inside)
        if not ready:
            continue
        data, (address, port) = listening.recvfrom(MOST_BYTES + 1)
        router = Router(outside=_outside(), up_seconds=int(time.monotonic() - began))
        source = IPv4Address(address)
        asked = read(data, source, router)
        if isinstance(asked, Wish):
            asked = _carry_out(asked, mappings, source, router)
        elif isinstance(asked, Question):
            asked = asked.answer(router)
        if asked is not None:
            with contextlib.suppress(OSError):  # it has left
                listening.sendto(asked, (address, port))


def _carry_out(wish: Wish, mappings: Mappings, source: IPv4Address, router: Router) -> bytes:
    inside = wish.protocol, source, wish.inside_port
    if not wish.life_seconds:
        _withdraw(mappings, inside)
        return wish.answer(router, 0 if wish.version == 0 else wish.wanted_port, 0)
    life = min(wish.life_seconds, MOST_SECONDS)
    known = mappings.take(inside)
    port = mappings.grant(inside, known or wish.wanted_port, time.monotonic() + life)
    if port is None:
        return wish.refusal(router)
    if known is None:
        _change("add", inside, port)
    return wish.answer(router, port, life)


def _withdraw(mappings: Mappings, inside: Inside) -> None:
    port = mappings.take(inside)
    if port is not None:
        _change("delete", inside, port)


def _change(verb: str, inside: Inside, port: int) -> None:
    protocol, address, inside_port = inside
    run_nft(
        f"{verb} element ip nat forwarded {{ {protocol} . {port} : {address} . {inside_port} }}\n"
        f"{verb} element ip nat forwarders {{ {protocol} . {address} . {inside_port} : {port} }}\n"
    )


def _outside() -> IPv4Address:
    """Return the NAT's outside address, which may change."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(ELSEWHERE)
        return IPv4Address(asking.getsockname()[0])
