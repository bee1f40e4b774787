"""DIDComm: agents with identities of their own meet by messages, and make tunnels of WireGuard."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import cache_from_source
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

import msgspec

from e3.bytecode import bytecode
from e3.errors import ConfigurationError, OverlayError
from e3.handshakes import Marks
from e3.interfaces import Authority, File, Host, Ingress, Needs, Network
from e3.overlays import addresses, forwarder, topology
from e3.overlays.unit import (
    TIMEOUT_SECONDS,
    Members,
    Unit,
    apply,
    digest,
    on_each_host,
    remove,
    run_program,
)
from e3.paths import PathClass, Paths, Relayed
from e3.remote.text import printable

E3 = Path(__file__).resolve().parents[1]
SOURCES = (
    *("agents/*.py", "didcomm/**/*.py", "tunnel/*.py"),
    *("adhoc/__init__.py", "adhoc/relay*.py", "errors.py", "private.py"),
    *("remote/__init__.py", "remote/ask.py", "remote/tasks.py", "remote/text.py"),
)
"""What runs on hosts, by pattern."""

REQUIREMENTS = "agents/requirements.txt"
SERVICE, MEDIATOR = "didcomm", "didcomm-mediator"
DEVICE = "e3-didcomm"
CONFIGURATION = "/run/e3/didcomm"
PROGRAM = f"{CONFIGURATION}/program"
SECRETS = "/var/lib/e3/didcomm"
CONTROL = f"{SECRETS}/control"
START = (
    "import sys; sys.path[:0] = [sys.argv[1], sys.argv[2] + '/packages']; "
    "from e3.agents.start import main; main(*sys.argv[2:])"
)
ASK = "import sys; sys.path[:0] = [sys.argv[1]]; from e3.remote.ask import main; main(sys.argv[2])"
IGNORING_HUP = ("sh", "-c", 'trap "" HUP; exec "$@"', "sh")
"""HUP would end a Python that does not handle it yet; it reads the settings then anyway."""

Kind = TypeVar("Kind")

PREPARE_SECONDS = 300.0
"""For a host that has no packages for agents to install them."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is kept between deployments: which hosts mediate, and which one convenes."""

    mediators: list[str] = field(default_factory=list)
    convener: str = ""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a host reported, its DIDs; and ``link``, its invitation, which is stored on it alone."""

    agent: str
    mediator: str
    link: str = ""


class Reached(msgspec.Struct, frozen=True):
    """How an agent reaches a member (e3/agents/carrier.py)."""

    path: PathClass
    by: Annotated[str, msgspec.Meta(max_length=100)] = ""
    handshake: int = 0


class Status(msgspec.Struct, frozen=True):
    """What an agent tells (e3/agents/agent.py)."""

    paths: dict[str, Reached]


@dataclass(frozen=True, kw_only=True)
class Didcomm:
    """Agents that meet by DIDComm messages and agree on who they are, then make a full mesh.

    Each host makes its DID and its keys. Public hosts mediate: they pass on messages that they
    cannot read, answer STUN, and relay for pairs that find no other path. One agent, the convener,
    invites a host for each seat. Tunnels are WireGuard's, over UDP or, where that does not pass,
    over TLS; their keys are new in each run of an agent, and bound to the list of members.
    """

    needs: ClassVar[Needs] = Needs(
        tools=("tunnel",),
        public_host=True,
        punches=True,
        ipv6=True,
        tun=True,
        address_trust="authenticated",
    )
    handshake: ClassVar[str] = "wireguard"

    range: IPv4Network = IPv4Network("10.76.0.0/16")
    # not of those that Linux gives outgoing connections, one of which may have it already
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8441
    mtu: Annotated[int, msgspec.Meta(ge=576, le=9000)] = 1400
    mediator_hosts: Annotated[int, msgspec.Meta(ge=1, le=4)] = 2
    mediator_port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8440
    relay_port: Annotated[int, msgspec.Meta(ge=1, le=65_534)] = 3478
    mode: Literal["tunnel", "messages"] = "tunnel"
    purpose: Literal["", "comparison"] = ""

    def __post_init__(self) -> None:
        """Reject ports that two programs of a host would share, and messages but to compare."""
        if self.mode == "messages":
            self._check_messages()
        udp = {self.port} & {self.relay_port, self.relay_port + 1}
        if udp or len({self.port, self.mediator_port, self.relay_port}) < 3:  # noqa: PLR2004
            raise ConfigurationError(
                f"e3:overlay-options: port is {self.port}, mediator-port {self.mediator_port} and "
                f"relay-port {self.relay_port} (with the next one); choose different ones"
            )

    def _check_messages(self) -> None:
        if self.purpose != "comparison":
            raise ConfigurationError(
                "e3:overlay-options: mode is 'messages', which makes each MPyC message a DIDComm "
                "message: many times the time and the bytes, for nothing. It shows what sessions "
                "without tunnels cost; set purpose: comparison if you want to measure that"
            )
        if not self.range.subnet_of(forwarder.LOOPBACK):
            raise ConfigurationError(
                f"e3:overlay-options: range is {str(self.range)!r}, but without tunnels a host "
                f"has loopback addresses alone; write a part of {forwarder.LOOPBACK}, such as "
                "127.76.0.0/16"
            )
        # there is no device, and nothing becomes direct
        object.__setattr__(self, "needs", replace(type(self).needs, tun=False, punches=False))

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return an address of `range` for each host."""
        return addresses.assign(names, self.range, previous)

    def ingress(self) -> Sequence[Ingress]:
        """Return the ports of agents, and those of mediators with their relays."""
        tcp = (self.mediator_port, self.relay_port, self.port)
        udp = (self.relay_port, self.relay_port + 1, self.port)
        return [
            *(Ingress(protocol="tcp", first=port, last=port) for port in tcp),
            *(Ingress(protocol="udp", first=port, last=port) for port in udp),
        ]

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Let each host make its identity, start mediators, and give each host its invitation."""
        del authority
        given = self.assign([host.name for host in hosts], previous)
        before = msgspec.convert(previous.memory, Memory) if previous else Memory()
        servers = topology.choose_servers(
            hosts,
            before.mediators,
            count=self.mediator_hosts,
            need="didcomm needs {} as mediator",
            instead="choose tor or tailscale",
        )
        made = await on_each_host(map(_prepare, hosts))
        known = dict(zip((host.name for host in hosts), made, strict=True))
        convener = before.convener if before.convener in known else servers[0]
        memory = Memory(mediators=servers, convener=convener)
        members = Members(hosts=hosts, addresses=given, public=known, memory=memory)
        await on_each_host(self._mediate(host, members) for host in hosts)
        invited = await self._invite(members)
        members = Members(hosts=hosts, addresses=given, public=invited, memory=memory)
        await on_each_host(apply(host, self.plan(host, members)) for host in hosts)
        return Network(addresses=given, memory=asdict(memory))

    async def paths(self, hosts: Sequence[Host], network: Network) -> Paths:
        """Ask each agent how it reaches the others."""
        del network
        answers = await on_each_host(map(_status, hosts))
        told = dict(zip((host.name for host in hosts), answers, strict=True))
        names = {
            address: host.name
            for host in hosts
            for address in (host.underlay, host.underlay6)
            if address
        }
        found: dict[tuple[str, str], PathClass | Relayed] = {}
        for a, b in ((a.name, b.name) for a in hosts for b in hosts if a.name != b.name):
            reached = told[a].paths.get(b, Reached(path="none"))
            by = names.get(reached.by) if reached.path == "relayed" else None
            found[a, b] = Relayed(by=by) if by is not None else reached.path
        return found

    async def handshakes(self, hosts: Sequence[Host], network: Network) -> Marks:
        """Ask each agent when its tunnels had their last handshakes."""
        del network
        answers = await on_each_host(map(_status, hosts))
        return {
            (host.name, peer): str(reached.handshake)
            for host, told in zip(hosts, answers, strict=True)
            for peer, reached in told.paths.items()
            if reached.handshake
        }

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Stop agents and mediators, and remove their files and keys."""
        del network
        await remove(hosts, [SERVICE, MEDIATOR], CONFIGURATION, SECRETS)

    def plan(self, host: Host, members: Members[Known, Memory]) -> Sequence[Unit]:
        """Return the agent of ``host``, after its mediator if it has one; pure."""
        told = {
            "link": members.public[host.name].link,
            "tunnel": _tunnel(host),
            "interface": DEVICE,
            "port": self.port,
            "mtu": self.mtu,
            "mode": self.mode,
            "ports": self._ports(members),
        }
        files = [_json("agent.json", told)]
        if host.name == members.memory.convener:
            files.append(_json("seats.json", self._seats(members)))
        agent = Unit(
            name=SERVICE,
            files=files,
            argv=_command(host, "agent"),
            ready=("test", "-S", CONTROL),
            reload_signal="HUP",
            restart_on=[
                *(self.mode, self.port, self.mtu, self._ports(members)),
                *(members.addresses[host.name], _revision()),
            ],
        )
        return [*self._mediators(host, members), agent]

    def _mediators(self, host: Host, members: Members[Known, Memory]) -> Sequence[Unit]:
        if host.name not in members.memory.mediators:
            return []
        told = {
            "tunnel": _tunnel(host),
            "port": self.mediator_port,
            "relay_udp": [self.relay_port, self.relay_port + 1],
            "relay_tcp": self.relay_port,
            "unlimited": self.mode == "messages",
        }
        return [
            Unit(
                name=MEDIATOR,
                files=[_json("mediator.json", told)],
                argv=_command(host, "mediator"),
                ready=("test", "-e", f"{CONFIGURATION}/serving"),
                restart_on=[self.mode, self.mediator_port, self.relay_port, _revision()],
            )
        ]

    def _ports(self, members: Members[Known, Memory]) -> list[int]:
        """Return the ports that agents carry by messages: those of probes and parties."""
        if self.mode == "tunnel":
            return []
        return forwarder.ports(members.hosts)

    async def _mediate(self, host: Host, members: Members[Known, Memory]) -> None:
        """Start the mediator of a host, or stop the one that it had."""
        if units := self._mediators(host, members):
            await apply(host, units)
        else:
            await host.access.stop(MEDIATOR, timeout_seconds=TIMEOUT_SECONDS)

    def _seats(self, members: Members[Known, Memory]) -> list[dict[str, object]]:
        """Return the seats of the network: who made its identity anew gets another one."""
        return [
            {
                "name": host.name,
                "address": members.addresses[host.name],
                "serial": digest(members.public[host.name].agent),
                "public": topology.is_public(host),
            }
            for host in sorted(members.hosts, key=lambda host: host.name)
        ]

    async def _invite(self, members: Members[Known, Memory]) -> dict[str, Known]:
        """Let the convener make the invitations; return what is known with each host's own."""
        by_name = {host.name: host for host in members.hosts}
        mediating = [by_name[name] for name in members.memory.mediators]
        asked = {
            "seats": self._seats(members),
            "prefix": self.range.prefixlen,
            "mediators": [
                {
                    "did": members.public[host.name].mediator,
                    "addresses": [ip for ip in (host.underlay, host.underlay6) if ip],
                    "port": self.mediator_port,
                    "stun": [self.relay_port, self.relay_port + 1],
                }
                for host in mediating
            ],
        }
        convener = by_name[members.memory.convener]
        done = await convener.access.run(
            _python(convener, "invite"),
            stdin=json.dumps(asked).encode(),
            timeout_seconds=TIMEOUT_SECONDS,
        )
        if done.exit:
            raise OverlayError(f"inviting on host {convener.name}: {done.complaint}")
        links = _decoded(done.stdout, dict[str, str], convener, "its invitations")
        if links.keys() != members.public.keys():
            raise OverlayError(f"host {convener.name} does not invite all hosts")
        return {
            name: Known(agent=known.agent, mediator=known.mediator, link=links[name])
            for name, known in members.public.items()
        }


@functools.cache
def program_files() -> tuple[File, ...]:
    """Return what runs on hosts as files, each source with its bytecode."""
    files = [
        File(path=f"{PROGRAM}/e3/__init__.py", content=b""),
        File(path=f"{PROGRAM}/requirements.txt", content=(E3 / REQUIREMENTS).read_bytes()),
    ]
    for source in sorted({path for pattern in SOURCES for path in E3.glob(pattern)}):
        place = f"{PROGRAM}/e3/{source.relative_to(E3)}"
        files.append(File(path=place, content=source.read_bytes()))
        files.append(File(path=cache_from_source(place), content=bytecode(source)))
    return tuple(files)


@functools.cache
def _revision() -> str:
    """Return a digest of the sources: agents of an older one are restarted."""
    return digest([file.content.decode() for file in program_files() if file.path.endswith(".py")])


def _json(name: str, content: object) -> File:
    """Return a file of settings: the agent's has its invitation, which is secret."""
    text = json.dumps(content, indent=1)
    return File(path=f"{CONFIGURATION}/{name}", content=text.encode(), mode=0o600)


def _tunnel(host: Host) -> str:
    return f"{host.tools}/e3-tunnel"


def _python(host: Host, *words: str) -> tuple[str, ...]:
    # isolated; what is in the folder of the program has its bytecode already
    start = (host.python, "-I", "-B", "-c", START, PROGRAM, SECRETS, CONFIGURATION)
    return (*start, *words)


def _command(host: Host, *words: str) -> tuple[str, ...]:
    return (*IGNORING_HUP, *_python(host, *words))


async def _prepare(host: Host) -> Known:
    """Send the program to ``host``, which makes its identities; return their DIDs."""
    await host.access.put(program_files(), timeout_seconds=TIMEOUT_SECONDS)
    said = await run_program(
        host,
        _python(host, "prepare", f"{PROGRAM}/requirements.txt"),
        "making its identity",
        timeout_seconds=PREPARE_SECONDS,
    )
    return _decoded(said.encode(), Known, host, "its DIDs")


async def _status(host: Host) -> Status:
    asked = (host.python, "-I", "-S", "-B", "-c", ASK, PROGRAM, CONTROL)
    said = await run_program(host, asked, "asking the agent")
    return _decoded(said.encode(), Status, host, "its paths")


def _decoded(said: bytes, kind: type[Kind], host: Host, what: str) -> Kind:
    try:
        return msgspec.json.decode(said, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise OverlayError(
            f"the agent on host {host.name} does not tell {what}: {printable(error)}"
        ) from None
