"""Overlays for tests: a lab, hosts in it, and one overlay over them."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from e3 import contact
from e3.authority import nebula_cert
from e3.authority.choices import majority
from e3.authority.joint.messages import Header
from e3.authority.joint.policy import Scope
from e3.authority.local import NebulaCa
from e3.ceremonies.authority import Wanted, establish
from e3.ceremonies.nebula import JointNebulaCa, authority_request
from e3.ceremonies.removal import remove
from e3.ceremonies.signer import JointSigner
from e3.errors import PlatformError
from e3.interfaces import PARTY_PORT, Authority, Certified, Host, Network, Overlay
from e3.lab.client import Lab
from e3.paths import PairPath
from e3.preflight import Equipment

ROOT = Path(__file__).parents[1]
CONTACT_SECONDS = 60.0
COMMAND_SECONDS = 60.0
AUTHORITY_SECONDS = 365 * 86_400
AUTHORITIES: Mapping[str, Callable[[str, int, int], Coroutine[Any, Any, tuple[str, str]]]] = {
    "nebula": nebula_cert.make_authority,
}

ANSWER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print(flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b"here")
    connection.close()
"""
DIAL = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2) as connection:
    assert connection.recv(4) == b"here"
"""
PORT = PARTY_PORT


def skip_without_programs(name: str, overlay: Overlay) -> None:
    """Skip the test if a program is missing that is built only where a stack asks for it."""
    if Equipment().left_out(overlay.needs):
        with pytest.raises(PlatformError) as lacking:
            Equipment().check(name, overlay.needs, name)
        pytest.skip(str(lacking.value))


def make_authority(overlay: Overlay) -> Authority | None:
    """Return a new authority of the kind that the overlay needs."""
    kind = overlay.needs.authority
    if kind is None:
        return None
    version = cast("Certified", overlay).terms.version
    certificate, key = asyncio.run(AUTHORITIES[kind]("test", AUTHORITY_SECONDS, version))
    return NebulaCa(certificate=certificate, key=key)


def ask(host: Host, *argv: str) -> str:
    """Return what a command prints on a host; it must succeed."""
    done = asyncio.run(host.access.run(argv, timeout_seconds=COMMAND_SECONDS))
    assert done.exit == 0, (argv, done)
    return done.stdout.decode()


def processes(host: Host) -> list[str]:
    """Return the processes of a host, each with its number and command."""
    listed = ask(host, "ps", "-e", "-o", "pid=,args=").splitlines()
    return sorted(line.strip() for line in listed if "ps -e" not in line)


def network_of(host: Host) -> str:
    """Return interfaces, addresses, routes and rules of a host."""
    shown = [ask(host, "ip", "-br", "address"), ask(host, "ip", "route"), ask(host, "ip", "rule")]
    return "".join(shown)


def files(host: Host, what: str) -> list[str]:
    """Return the files that a host has for itself, described by find's format ``what``.

    Logs are left out: they grow, and they are kept.
    """
    places = ["/run", "/var/lib", "/tmp", "/var/tmp", "/root", "/etc"]  # noqa: S108 - the host's own
    left_out = ["/run/.disk", "/run/service", "/run/lab", "/etc"]
    prune = [part for path in left_out for part in ("-path", path, "-prune", "-o")]
    return sorted(ask(host, "find", *places, "-xdev", *prune, "-printf", what).splitlines())


@dataclass
class Mesh:
    """An overlay over hosts of a lab; `connect` keeps what it returned for the next one."""

    lab: Lab
    overlay: Overlay
    hosts: list[Host] = field(default_factory=list)
    network: Network | None = None
    joint: bool = False

    def __post_init__(self) -> None:
        self.authority = None if self.joint else make_authority(self.overlay)
        self.header: Header | None = None

    def add(self, *names: str, nats: Mapping[str, str] | None = None) -> None:
        """Make hosts, which are not joined yet; ``nats`` are before some of them."""
        handles = self.lab.add_hosts([(name, name.partition("-")[0]) for name in names], nats)
        self.hosts += [handle.host() for handle in handles]

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def connect(self, *names: str) -> Network:
        """Join the hosts of these names, and only them."""
        hosts = [self.host(name) for name in names]
        if self.joint:
            self._establish(hosts)
        self.network = asyncio.run(self.overlay.connect(hosts, self.authority, self.network))
        return self.network

    def _establish(self, hosts: Sequence[Host]) -> None:
        """Let these hosts hold the authority's key, by the ceremony of a stack."""
        names = [host.name for host in hosts]
        terms = cast("Certified", self.overlay).terms
        wanted = Wanted(
            purpose="nebula",
            threshold=majority(len(names)),
            holders=names,
            scope=Scope(
                names=tuple(names),
                networks=(str(self.overlay.range),),
                groups=terms.groups,
                most_seconds=round(terms.valid_seconds),
                key_file=terms.key_file,
            ),
            refresh_seconds=AUTHORITY_SECONDS,
            request=lambda: authority_request("test", AUTHORITY_SECONDS, terms.version),
        )
        folder = self.lab.folder.parent / "authority"
        key = self.header.public_key if self.header else None
        made = asyncio.run(establish(folder, wanted, hosts, key))
        assert made.certificate is not None
        self.header = made.header
        signer = JointSigner(
            folder=folder,
            purpose="nebula",
            public_key=made.header.public_key,
            hosts=hosts,
            threshold=made.header.threshold,
        )
        self.authority = JointNebulaCa(certificate=made.certificate.text, signer=signer)

    def verify_pairs(self) -> Sequence[PairPath]:
        """Return the path of each pair of members, after they have exchanged data."""
        network = self.joined
        hosts = [host for host in self.hosts if host.name in network.addresses]
        return asyncio.run(
            contact.verify_pairs(self.overlay, hosts, network, timeout_seconds=CONTACT_SECONDS)
        )

    def disconnect(self, *names: str) -> None:
        hosts = [self.host(name) for name in names]
        asyncio.run(self.overlay.disconnect(hosts, self.joined))
        if self.joint:
            asyncio.run(remove(hosts, "nebula"))
            if len(hosts) == len(self.joined.addresses):
                self.header = None  # nobody holds the key any more

    @property
    def joined(self) -> Network:
        assert self.network is not None
        return self.network

    def with_options(self, **options: object) -> None:
        """Give the overlay other options, from the next `connect` on."""
        self.overlay = replace(self.overlay, **options)  # type: ignore[type-var] # a dataclass

    def reaches(self, source: str, target: str, *, across: str | None = None) -> bool:
        """Return whether ``source`` opens a connection to the overlay address of ``target``.

        ``across`` is the underlay address of a host to send it to, for one who has no
        better route.
        """
        return asyncio.run(self._reach(self.host(source), self.host(target), across))

    async def _reach(self, source: Host, target: Host, across: str | None) -> bool:
        address = self.joined.addresses[target.name]
        answer = [target.python, "-I", "-c", ANSWER, address, str(PORT)]
        dial = [source.python, "-I", "-c", DIAL, address, str(PORT)]
        route = ["ip", "route", "replace", address, "via", across or "", "dev", "eth0", "onlink"]
        async with target.access.attach(answer) as answering:
            assert await answering.stdout.readline() == b"\n"
            if across is not None and across != address:
                routed = await source.access.run(route, timeout_seconds=COMMAND_SECONDS)
                assert routed.exit == 0, routed
            done = await source.access.run(dial, timeout_seconds=COMMAND_SECONDS)
        return done.exit == 0

    def restart_services(self, name: str) -> None:
        """Restart all services of a host with the files that are there."""
        ask(self.host(name), "sh", "-c", "for s in /run/service/*; do s6-svc -wr -r $s; done")
