"""A private Tor network: one authority and three relays on public hosts of the stack."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from e3.errors import OverlayError
from e3.interfaces import Host
from e3.overlays import topology
from e3.overlays.unit import Unit, apply, run_script, script, text_files
from e3.remote.tasks import gather_or_cancel

SERVERS = ("tor-authority", "tor-relay-0", "tor-relay-1", "tor-relay-2")
"""The services of a network; two relays besides the authority's own are too few."""

SCRIPT = "tor.sh"
CONFIGURATION = "/run/e3/tor"
SECRETS = "/var/lib/e3/tor"
TIMEOUT_SECONDS = 60.0
NETWORK_SECONDS = 120.0

COMMON = "Schedulers Vanilla\nLog notice stdout\nAvoidDiskWrites 1\nKeepalivePeriod 10\n"
"""Sends something each 10 s, not each 300: a router tells of a lost connection only then."""

SERVING = "SocksPort 0\nExitPolicy reject *:*\nContactInfo e3\n"

TESTING = """\
TestingTorNetwork 1
AssumeReachable 1
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingDirAuthVoteHSDir *
TestingMinExitFlagThreshold 0
TestingV3AuthInitialVotingInterval 10
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 20
V3AuthVoteDelay 2
V3AuthDistDelay 2
"""
"""Makes a consensus within 10 s of the start, then each 20 s, so that a late relay waits no longer.
Every relay may have any role."""

PARAMETERS = "ConsensusParams hsdir_n_replicas=1 hsdir_spread_store=2 hsdir_spread_fetch=2 \
hs_intro_num_extra=0\n"
"""Announces each service at two relays instead of eight: there are only four."""

SMALL = """\
UseEntryGuards 0
VanguardsLiteEnabled 0
PathsNeededToBuildCircuits 0.67
"""
"""With four relays, guards would leave no relay for the rest of a path."""


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The servers of a private network.

    ``carriers`` are the names of the hosts that run them, each several. ``line`` is the line of
    torrc that names the authority; ``listed`` are the digests of all relays, the authority's first.
    """

    carriers: list[str] = field(default_factory=list)
    line: str = ""
    listed: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Relays:
    """A network's servers on ``hosts`` public hosts, at TCP ports from ``port`` on.

    Tor protects only with relays of many owners; this network shows what Tor costs.
    """

    hosts: int
    port: int

    def choose(self, hosts: Sequence[Host], known: Sequence[str]) -> list[str]:
        """Return the names of the hosts that run the network."""
        return topology.choose_servers(
            hosts,
            known,
            count=self.hosts,
            need="a private Tor network needs {} for its relays",
            instead="set network: public",
        )

    async def identify(self, hosts: Sequence[Host], known: Sequence[str]) -> Roles:
        """Make missing keys of all servers; return the servers' digests."""
        carriers = self.choose(hosts, known)
        placed = _placed(hosts, carriers)
        chief = placed[0]
        directory = f"{chief.underlay}:{self.port + 1}"
        relays = [
            _make(host, "make_relay", data_of(name), host.underlay, str(self._port(i)))
            for i, (name, host) in enumerate(zip(SERVERS, placed, strict=True))
        ]
        authority = _make(chief, "make_authority", data_of(SERVERS[0]), directory)
        identity, *listed = await gather_or_cancel([authority, *relays])
        line = (
            f"DirAuthority e3 orport={self.port} no-v2 v3ident={identity} {directory} {listed[0]}"
        )
        return Roles(carriers=carriers, line=line, listed=listed)

    async def serve(self, hosts: Sequence[Host], roles: Roles) -> None:
        """Start all servers; return once the authority has listed them."""
        await gather_or_cancel(apply(host, [unit]) for host, unit in self._units(hosts, roles))

    def plan(self, host: Host, hosts: Sequence[Host], roles: Roles) -> Sequence[Unit]:
        """Return the servers that ``host`` runs; pure."""
        return [unit for carrier, unit in self._units(hosts, roles) if carrier == host]

    def _units(self, hosts: Sequence[Host], roles: Roles) -> Sequence[tuple[Host, Unit]]:
        consensus = f"{data_of(SERVERS[0])}/cached-microdesc-consensus"
        lists = ("sh", f"{CONFIGURATION}/{SCRIPT}", "lists", consensus)
        units = []
        for index, (name, host) in enumerate(
            zip(SERVERS, _placed(hosts, roles.carriers), strict=True)
        ):
            texts = {name: self._configuration(index, host, roles), SCRIPT: script(SCRIPT)}
            unit = Unit(
                name=name,
                files=text_files(CONFIGURATION, texts),
                argv=("tor", "-f", f"{CONFIGURATION}/{name}", "--DataDirectory", data_of(name)),
                ready=("true",) if index else (*lists, *map(_short, roles.listed)),
                ready_seconds=NETWORK_SECONDS,
            )
            units.append((host, unit))
        return units

    def _configuration(self, index: int, host: Host, roles: Roles) -> str:
        """Return the configuration of one server, of which the first is the authority."""
        authority = (
            f"DirPort {self.port + 1} IPv4Only\nAuthoritativeDirectory 1\n"
            f"V3AuthoritativeDirectory 1\n{PARAMETERS}"
        )
        return (
            f"Nickname e3r{index}\nAddress {host.underlay}\nORPort {self._port(index)} IPv4Only\n"
            f"{'' if index else authority}{SERVING}{COMMON}{TESTING}{SMALL}{roles.line}\n"
        )

    def _port(self, index: int) -> int:
        """Return a server's port; the one after the authority's is that of its directory."""
        return self.port + index + (index > 0)

    @property
    def last_port(self) -> int:
        """The last of the ports."""
        return self._port(len(SERVERS) - 1)


def data_of(name: str) -> str:
    """Return the folder of a service of Tor."""
    return f"{SECRETS}/{name}"


def _placed(hosts: Sequence[Host], carriers: Sequence[str]) -> list[Host]:
    """Return the host of each of `SERVERS`."""
    by_name: Mapping[str, Host] = {host.name: host for host in hosts}
    return [by_name[carriers[i % len(carriers)]] for i in range(len(SERVERS))]


def _short(digest: str) -> str:
    """Return a relay's digest in the form of a consensus."""
    return base64.b64encode(bytes.fromhex(digest)).decode().rstrip("=")


async def _make(host: Host, *command: str) -> str:
    """Run a command of the script that makes missing keys; return the digest that it prints."""
    found = (await run_script(host, SCRIPT, *command, timeout_seconds=TIMEOUT_SECONDS)).strip()
    if not found:
        raise OverlayError(
            f"host {host.name} has made no keys for a relay of Tor; check that its disk has space"
        )
    return found
