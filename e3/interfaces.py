"""The contracts between fleets, overlays and sessions.

A *fleet* makes hosts, an *overlay* connects them, a *session* runs parties on
them; each knows the others only through this module. Nothing here imports
pulumi: these are values and protocols of the time when hosts exist.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import ClassVar, Literal, Protocol, runtime_checkable

from e3.nats import Reachability
from e3.paths import Paths
from e3.remote.text import LINE_LENGTH, printable

AddressTrust = Literal["authenticated", "unverified", "translated"]
"""What the source address of a connection proves about its sender.

``authenticated``: the overlay guarantees that this member sent it. ``unverified``: members send
from their own addresses, but anybody else could use them, too. ``translated``: connections arrive
from another address than the sender's, so it says nothing.
"""

ReloadSignal = Literal["HUP", "USR1", "USR2"]

PROBE_PORT = 11_299
"""Where each host answers e3/remote/probe.py, at its overlay address."""

PARTY_PORT = 11_365
"""MPyC's own; `party_port` says at which one a party listens, at its host's overlay address."""

LAST_PARTY_PORT = PARTY_PORT + 9_999

MOST_PARTY_PORTS = 64


def party_ports(hosts: int) -> range:
    """Return the ports at which parties of so many hosts listen.

    An overlay that forwards connections listens at each of them for each peer, on each host. So
    among many hosts all parties have the same port, as each host has an address of its own.
    """
    return range(PARTY_PORT, PARTY_PORT + (hosts if hosts <= MOST_PARTY_PORTS else 1))


def party_port(pid: int, hosts: int, base_port: int = PARTY_PORT) -> int:
    """Return the port of the party ``pid`` among so many hosts."""
    return base_port + pid % len(party_ports(hosts))


@dataclass(frozen=True, kw_only=True)
class Ingress:
    """Ports ``first`` to ``last``, which a host must let in from the others of its stack."""

    protocol: Literal["tcp", "udp"]
    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A command that ended: exit status (negative for a signal) and what it wrote."""

    exit: int
    stdout: bytes
    stderr: bytes

    @property
    def complaint(self) -> str:
        """Why it failed: the end of what it wrote, as one printable line."""
        written = (self.stderr.strip() or self.stdout.strip())[-4 * LINE_LENGTH :]
        lines = written.decode(errors="replace").splitlines()
        text = printable(" / ".join(filter(None, map(str.strip, lines))), len(written) * 10)
        return text[-LINE_LENGTH:] or f"exit status {self.exit}"


@dataclass(frozen=True, kw_only=True)
class File:
    """A file to write on a host; ``owner`` is a user name there."""

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A daemon that a host keeps running, restarted when it dies.

    ``ready`` is a command that exits 0 once the service serves. ``revision``
    names the state of the files it reads: a start with another revision sends
    ``reload_signal`` if there is one, and else restarts the service.
    A start with another ``restart_on`` always restarts it.
    """

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Sequence[str] = ("true",)
    revision: str = ""
    reload_signal: ReloadSignal | None = None
    restart_on: str = ""


class Writer(Protocol):
    """The standard input of an attached process."""

    def write(self, data: bytes) -> None:
        """Buffer ``data``; await `drain` after a large one."""

    async def drain(self) -> None:
        """Return once the buffer is small again."""

    def close(self) -> None:
        """Close the process's standard input."""


class Reader(Protocol):
    """The standard output of an attached process."""

    async def readline(self) -> bytes:
        """Return one line with its end, or ``b""`` at the end of the stream."""

    async def read(self, most: int, /) -> bytes:
        """Return at most ``most`` bytes of what has arrived, or ``b""`` at the end."""


class Process(Protocol):
    """A command on a host whose life is tied to ours through its standard input.

    When this side ends, for whatever reason, the command reads the end of its
    input. A command that must leave nothing behind ends then.
    """

    @property
    def stdin(self) -> Writer:
        """What the command reads."""

    @property
    def stdout(self) -> Reader:
        """What the command writes; its standard error is merged into it."""

    async def wait(self) -> int:
        """Return the exit status, negative for a signal."""


class Access(Protocol):
    """How commands and files reach one host.

    Called by overlays and sessions only. Each verb raises `HostError` when the
    host is gone; a verb with a limit raises `TimeoutError` when it passes.
    """

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float
    ) -> Completed:
        """Run a command to its end. A non-zero exit status is returned, not raised."""

    async def put(self, files: Sequence[File], *, timeout_seconds: float) -> frozenset[str]:
        """Write each file atomically, making folders as needed; return the paths that changed."""

    async def get(self, paths: Sequence[str], *, timeout_seconds: float) -> Mapping[str, bytes]:
        """Return the content of each path that exists."""

    async def start(self, service: Service, *, timeout_seconds: float) -> None:
        """Start the service as described and wait until it is ready; do nothing if it is.

        Raises `ServiceError` with the service's last lines if it dies instead.
        """

    async def stop(self, name: str, *, timeout_seconds: float) -> None:
        """Stop and remove the service; do nothing if it does not exist."""

    def attach(self, argv: Sequence[str]) -> AbstractAsyncContextManager[Process]:
        """Start a command; leaving the context ends it."""


@runtime_checkable
class Enterable(Protocol):
    """Access to a host that consists of namespaces of this machine, which a process can enter."""

    @property
    def limited(self) -> bool:
        """Whether the host has a part of this machine's processors alone, as a slow one has."""

    def namespaces(self) -> AbstractContextManager[Sequence[int]]:
        """Hold the host's namespaces open, as descriptors in the order in which to enter them."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine that runs a party.

    ``name`` is ``<region>-<index>``; ``system`` as Nix names it, such as
    ``x86_64-linux``; ``underlay`` the IP address at which the network below
    knows it, ``underlay6`` its IPv6 address where it has one besides. ``http_proxy`` is the
    ``address:port`` of the HTTP proxy that alone leads out, empty where none is needed.
    ``python`` is the interpreter of the party environment on that
    host, ``tools`` the folder that holds the overlays' programs there.
    """

    name: str
    region: str
    system: str
    underlay: str
    reachability: Reachability
    python: str
    tools: str
    access: Access
    underlay6: str = ""
    http_proxy: str = ""

    def seen_from(self, other: "Host") -> str:
        """Return the underlay address at which ``other``, which may have only IPv6, reaches it."""
        return self.underlay6 if self.underlay6 and ":" in other.underlay else self.underlay

    @property
    def bits(self) -> int:
        """The width of its words. Python's hash, which numbers MPyC's messages, depends on it."""
        return 64 if self.system.startswith(("x86_64", "aarch64")) else 32


@dataclass(frozen=True, kw_only=True)
class SshFiles:
    """What OpenSSH has on hosts and here, where an authority certifies both sides.

    ``host_key`` is the host's public key, ``folder`` a folder on the host whose ``sshd.conf`` its
    sshd includes first. ``client_key`` is a private key on this machine, which logs in as root.
    """

    host_key: str
    folder: str
    client_key: str


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Address and port where one party listens: one ``-P`` of MPyC."""

    address: str
    port: int

    def __str__(self) -> str:
        """Return ``address:port``; the port is always given, as MPyC splits at the last colon."""
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Network:
    """What `Overlay.connect` achieved; public values only, kept between deployments.

    ``addresses`` gives each host's overlay address by host name. ``memory`` is
    the overlay's own (certificates, blocklist, ...): JSON values that it gets
    back at the next connect. ``renew_after`` is the Unix time after which
    `connect` must run again although nothing changed, if there is one.
    """

    addresses: Mapping[str, str]
    memory: Mapping[str, object] = field(default_factory=dict)
    renew_after: float | None = None


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an overlay asks of its surroundings, and what it cannot do, as data.

    ``open_to_all``: it keeps nobody out, so whoever reaches the underlay reaches the parties.
    ``address_trust``: what the source address of a connection proves about its sender.
    ``tools`` are programs built by scripts/setup, ``packages`` come from the distribution.
    ``authority`` is the encoding of certificates that must be signed. ``credential`` is what the
    stack makes at a service so that its hosts are admitted. ``account`` is what only the user can
    bring, such as an account at a service. ``control_server``: one server serves all, and when
    its host leaves, the others join again. That server may assign the addresses in the order in
    which identities register: a host that is made anew gets another one.

    Of the network below: ``udp``: it uses UDP only. ``public_host``: at least one host must be
    public. ``punches``: a path may begin as relayed, and becomes direct within seconds where the
    NATs allow it. ``crosses_nats`` is false if hosts keep their underlay addresses: a host behind
    a NAT then dials, and no other host can dial it. ``port_443_suffices``: a host whose firewall
    passes only TCP to port 443 can join, if the overlay listens there; with ``http_proxies`` also
    one which must use an HTTP proxy. ``ipv6``: a host without
    an IPv4 address can join, where public hosts have addresses of both kinds.
    e3/reachability.py derives which hosts can be joined.
    """

    tools: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    authority: Literal["nebula"] | None = None
    credential: Literal["tailnet"] | None = None
    udp: bool = False
    public_host: bool = False
    punches: bool = False
    crosses_nats: bool = True
    port_443_suffices: bool = False
    http_proxies: bool = False
    ipv6: bool = False
    tun: bool = False
    open_to_all: bool = False
    address_trust: AddressTrust = "unverified"
    account: str | None = None
    control_server: bool = False


@dataclass(frozen=True, kw_only=True)
class SigningRequest:
    """What an authority is asked to certify: this public key is that host at that address.

    ``public_key`` is in the encoding's own text form; ``valid_seconds`` counts from now.
    """

    name: str
    address: str
    public_key: str
    groups: tuple[str, ...]
    valid_seconds: int


class Authority(Protocol):
    """Who signs the overlay's identities."""

    @property
    def certificate(self) -> str:
        """The authority's own certificate, in the encoding's text form; public."""

    async def sign(self, requests: Sequence[SigningRequest]) -> Sequence[str]:
        """Return one certificate for each request, in order; raise `AuthorityError` if refused."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Groups and validity of every certificate, and how long before its end it is renewed.

    ``key_file`` is the path of the file in which each host has the public key that it made, if
    there is one. ``version`` is that of the encoding, where there are several.
    """

    groups: tuple[str, ...]
    valid_seconds: float
    margin_seconds: float
    key_file: str = ""
    version: int = 2


class Certified(Protocol):
    """What an overlay that declares `Needs.authority` has besides: the terms of certificates."""

    @property
    def terms(self) -> Terms:
        """The terms of the certificates that it asks for."""


class Overlay(Protocol):
    """One way of connecting hosts: a frozen dataclass whose fields are its options."""

    needs: ClassVar[Needs]

    @property
    def range(self) -> IPv4Network | None:
        """The range from which the overlay assigns addresses; None if it assigns none."""

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return the overlay address of each host name; empty if the overlay assigns none.

        Pure. Called once before anything is made; raises `ConfigurationError` if there are too
        few addresses. A host that `previous` knows keeps its address.
        """

    def ingress(self) -> Sequence[Ingress]:
        """Return what a firewall before each host must let in from the other hosts. Pure."""

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Connect the hosts, and only them; return once each has started what it needs.

        ``previous`` is what the last connect returned. A host in both keeps its
        address, and its services are not restarted unless their options changed. A
        host only in ``previous`` is excluded for good. Calling it again with what
        it returned changes nothing. The caller then checks that every pair exchanges data; both
        hosts of a pair begin at once.
        """

    async def paths(self, hosts: Sequence[Host], network: Network) -> Paths:
        """Return the class of each ordered pair of host names, as the overlay itself reports it."""

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Remove from these hosts all that `connect` left there; `HostError` if one is gone."""
