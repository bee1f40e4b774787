"""The state of a lab in its daemon: regions, hosts and links, and the verbs that change them."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e3.errors import LabError
from e3.impairments import Impairment, Pair
from e3.lab import equipment, linux, nat, slow
from e3.lab.addresses import MOST_REGIONS, RegionAddresses
from e3.lab.attachment import Attachment, HostRequest
from e3.lab.host import INTERFACE, Cable, HostSpec, SharedSettings, StartingHost, fork
from e3.lab.links import RegionLinks
from e3.lab.names import HostsFile, check_name
from e3.lab.router import Router, set_bypass
from e3.lab.wan import Wan
from e3.remote import processors

BATCH = 16  # hosts started at once; more would only wait for the kernel's locks
START_SECONDS = 30.0
HOSTS_A_PROCESSOR = 16
"""In a lab with more the WAN goes first, and programs on hosts are told to be `MODEST`."""

MODEST = {"GOMAXPROCS": "1", "GOGC": "25"}
"""Programs in Go use one processor each, as on a small virtual machine: others are not free, and
waking them took a quarter of the time of 100 WireGuards. And they hold a quarter more memory than
they use, not twice as much (pkg.go.dev/runtime, Environment Variables)."""


@dataclass(frozen=True)
class RunningHost:
    """A host of the lab: what was asked for, how it is attached, and its first process."""

    request: HostRequest
    attachment: Attachment
    pid: int

    @property
    def name(self) -> str:
        """The host's name."""
        return self.request.name

    @property
    def region(self) -> str:
        """The host's region."""
        return self.request.region

    @property
    def cable(self) -> Cable:
        """The host's own cable."""
        return self.attachment.cable_of(self.name)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The host's own addresses, a private one behind a NAT; IPv4 first."""
        return self.cable.addresses

    @property
    def wan_end(self) -> tuple[str, str]:
        """Network namespace and first address of the host, or of its outermost NAT."""
        nats = self.attachment.nats
        place = f"/proc/self/fd/{nats[0].network}" if nats else f"/proc/{self.pid}/ns/net"
        return place, self.attachment.cable.addresses[0]


class LabState:
    """Everything that a lab consists of. Repeating a verb has no further effect."""

    def __init__(self, settings: SharedSettings, rtt_ms: Mapping[Pair, float], daemon: int) -> None:
        """Start with no region; ``daemon`` is a pidfd of this process."""
        self._settings = settings
        self._daemon = daemon
        self._links = RegionLinks(rtt_ms)
        self._routers: dict[str, Router] = {}
        self._remembered: dict[str, RegionAddresses] = {}
        self._hosts: dict[str, RunningHost] = {}
        self._attachments: dict[tuple[str, str], Attachment] = {}  # by region and key
        self._names = HostsFile(Path(settings.folder))
        self._slow: dict[str, processors.Group] = {}
        self._ports = 0
        self.wan = Wan(daemon)

    def add_region(self, name: str) -> None:
        """Ensure that the region exists, linked with all others."""
        check_name("region", name)
        if name in self._routers:
            return
        router = Router.make(name, self._addresses(name))
        self._routers[name] = router
        self.wan.add(router.addresses.index, router.tun)
        self._link((name, other) for other in self._routers)

    def remove_region(self, name: str) -> None:
        """Remove the region and its hosts, if it exists."""
        if name not in self._routers:
            return
        self.remove_hosts([host for host, r in self._hosts.items() if r.region == name])
        router = self._routers[name]
        for other in list(router.bypassed):
            set_bypass(router, self._routers[other], bypass=False)
        self.wan.remove(router.addresses.index)
        del self._routers[name]
        router.close()

    def set_rtt(self, rtt_ms: Mapping[Pair, float]) -> None:
        """Set the round trips of pairs of regions, half of it each way."""
        for (one, other), value in rtt_ms.items():
            self._links.set_rtt(one, other, value)
        self._link(rtt_ms)

    def impair(self, impairments: Mapping[Pair, Impairment]) -> None:
        """Set the impairment of every ordered pair of regions."""
        self._links.impair(impairments)
        self._link((one, other) for one in self._routers for other in self._routers)

    def add_hosts(self, wanted: Sequence[HostRequest]) -> list[RunningHost]:
        """Create hosts; replace those that exist."""
        for host in wanted:
            self._check(host)
        self.remove_hosts([host.name for host in wanted])
        most = HOSTS_A_PROCESSOR * (os.cpu_count() or 1)
        crowded = len(self._hosts) + len(wanted) > most
        settings = self._settings.with_environment(MODEST) if crowded else self._settings
        if crowded:
            self.wan.go_first()
        made: list[RunningHost] = []
        for start in range(0, len(wanted), BATCH):
            made += self._make(wanted[start : start + BATCH], settings)
        return made

    def remove_hosts(self, names: Iterable[str]) -> None:
        """Remove those of these hosts that exist."""
        leaving = [self._hosts.pop(name) for name in names if name in self._hosts]
        for host in leaving:
            _kill(host.pid)
        for host in leaving:
            _reap(host.pid)
            self._let_go(host)
        self._names.remove(host.name for host in leaving)

    def renumber_host(self, name: str) -> RunningHost:
        """Give a host another address on its region's network; behind NATs, the outermost of them.

        Packets to the old address are lost. The host's programs are not told.
        """
        host = self._host(name)
        attachment, router = host.attachment, self._routers[host.region]
        outside = attachment.cable
        address = router.addresses.move(attachment.request.key)
        for member, before in attachment.readdress(address, router.addresses.gateway).items():
            moved = self._hosts[member]
            if moved.addresses != before.addresses:
                network = os.open(f"/proc/{moved.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    with linux.inside_network(network):
                        moved.cable.readdress(INTERFACE, before)
                finally:
                    os.close(network)
            self._names.add([(member, moved.addresses)])
        router.readdress(attachment.cable, outside)
        return host

    def reboot_nat(self, name: str) -> None:
        """Delete all mappings and flows of the NATs before a host."""
        nats = self._host(name).attachment.nats
        if not nats:
            raise LabError(f"host {name} is public: there is no NAT before it")
        for each in nats:
            each.reboot()

    def set_cable(self, name: str, *, whole: bool) -> None:
        """Disconnect a host silently, or connect it again (``whole``)."""
        host = self._host(name)
        self._routers[host.region].set_cable(host.attachment.cable.port, whole=whole)

    def set_processors(self, shares: Mapping[str, float]) -> None:
        """Set which part of one processor each host has, all there are for those not given."""
        for name, group in self._slow.items():
            if name not in shares:
                group.limit(None)
        for name, share in shares.items():
            host = self._host(name)
            if name not in self._slow:
                self._slow[name] = slow.group(name)
            self._slow[name].limit(share)
            self._slow[name].take(slow.processes(host.pid))

    def reap(self) -> None:
        """Forget hosts that have died by themselves; raise `LabError` if the WAN has."""
        for host in [r for r in self._hosts.values() if not is_running(r.pid)]:
            del self._hosts[host.name]
            self._let_go(host)
            _log(f"host {host.name} died")
        if not is_running(self.wan.pid):
            raise LabError("the lab's WAN died")

    def end(self) -> None:
        """Remove all hosts and regions."""
        self.remove_hosts(list(self._hosts))
        for router in self._routers.values():
            router.close()
        _kill(self.wan.pid)
        _reap(self.wan.pid)
        self.wan.let_go()

    def die_with_daemon(self) -> None:
        """Make the calling process, a child of the daemon, die with it."""
        linux.die_with_parent(self._daemon)

    def describe(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {
            "pid": os.getpid(),
            "wan_pid": self.wan.pid,
            "regions": {
                name: str(router.addresses.network) for name, router in self._routers.items()
            },
            "routers": {
                name: f"/proc/{os.getpid()}/fd/{router.network}"
                for name, router in self._routers.items()
            },
            "hosts": [self.describe_host(host) for host in self._hosts.values()],
        }

    def describe_host(self, host: RunningHost) -> dict[str, Any]:
        """Return a host as JSON values."""
        behaviour = host.request.behaviour
        return {
            "name": host.name,
            "region": host.region,
            "pid": host.pid,
            "underlay": host.addresses[0],
            "underlay6": "".join(host.addresses[1:]),
            "http_proxy": host.attachment.http_proxy,
            "outside": list(host.attachment.cable.addresses),
            "home_routers": [
                f"/proc/{os.getpid()}/fd/{each.network}" for each in host.attachment.nats
            ],
            "reachability": behaviour.reachability if behaviour else "public",
            "in_user_namespace": self._settings.in_user_namespace,
        }

    def probes(self) -> dict[str, list[tuple[str, str]]]:
        """Return where round trips can be measured: network namespaces and addresses by region.

        The addresses are IPv4; IPv6 packets take the same delay lines.
        """
        found: dict[str, list[tuple[str, str]]] = {}
        for name, router in self._routers.items():
            ends = [r.wan_end for r in self._hosts.values() if r.region == name]
            found[name] = [each for each in ends if ":" not in each[1]][:2] or [
                (f"/proc/self/fd/{router.network}", str(router.addresses.gateway))
            ]
        return found

    def asked_rtt_ms(self, one: str, other: str) -> float:
        """Return the round trip that was configured."""
        return self._links.asked_rtt_ms(one, other)

    def slack_ms(self, one: str, other: str) -> float | None:
        """Return how much longer a round trip may take, None if it is not worth measuring."""
        return self._links.slack_ms(one, other)

    def _host(self, name: str) -> RunningHost:
        if name not in self._hosts:
            known = ", ".join(sorted(self._hosts)) or "none"
            raise LabError(f"the lab has no host {name!r}; it has: {known}")
        return self._hosts[name]

    def _addresses(self, region: str) -> RegionAddresses:
        """Return the region's addresses, its former ones if it existed before."""
        if region not in self._remembered:
            taken = {addresses.index for addresses in self._remembered.values()}
            free = [index for index in range(MOST_REGIONS) if index not in taken]
            if not free:
                raise LabError(f"a lab holds at most {MOST_REGIONS} regions")
            self._remembered[region] = RegionAddresses(free[0])
        return self._remembered[region]

    def _link(self, pairs: Iterable[Pair]) -> None:
        """Apply the configured links between existing regions, in both directions."""
        routers = self._routers
        both = {(a, b) for pair in pairs for a, b in (pair, pair[::-1])}
        present = [(a, b) for a, b in sorted(both) if a in routers and b in routers]
        self.wan.set_links(
            [
                (routers[a].addresses.index, routers[b].addresses.index, self._links.link(a, b))
                for a, b in present
            ]
        )
        for a, b in present:
            if a <= b:
                plain = self._links.link(a, b).is_plain and self._links.link(b, a).is_plain
                set_bypass(routers[a], routers[b], bypass=plain)

    def _check(self, host: HostRequest) -> None:
        check_name("host", host.name)
        if host.region not in self._routers:
            known = ", ".join(sorted(self._routers)) or "none"
            raise LabError(
                f"host {host.name}: the lab has no region {host.region!r}; it has: {known}"
            )
        if host.behaviour is not None:
            equipment.require(host.name, host.behaviour)

    def _make(self, wanted: Sequence[HostRequest], settings: SharedSettings) -> list[RunningHost]:
        fresh: list[Attachment] = []
        attached: list[tuple[HostRequest, Attachment]] = []
        starting: list[StartingHost] = []
        try:
            for host in wanted:
                attachment = self._attach(host, fresh)
                attached.append((host, attachment))
                spec = HostSpec(name=host.name, cable=attachment.cable_of(host.name))
                starting.append(fork(spec, settings, self._daemon))
            for each in starting:
                each.wait(START_SECONDS)
            for region in {host.region for host in wanted}:
                cables = [it.cable for it in fresh if it.request.region == region]
                self._routers[region].attach(cables)
            for host, attachment in attached:
                attachment.attach(host.name)
        except BaseException:
            for each in starting:
                _kill(each.pid)
                _reap(each.pid)
            for host, _ in attached:
                self._detach(host)
            raise
        made = [
            RunningHost(host, attachment, process.pid)
            for (host, attachment), process in zip(attached, starting, strict=True)
        ]
        self._hosts |= {host.name: host for host in made}
        self._names.add((host.name, host.addresses) for host in made)
        return made

    def _attach(self, host: HostRequest, fresh: list[Attachment]) -> Attachment:
        """Return the attachment in which the host has a place; add one that is new to ``fresh``."""
        place = (host.region, host.key)
        if place not in self._attachments:
            self._ports += 1  # not the name of a cable that the kernel may still be removing
            router = self._routers[host.region]
            made = Attachment.make(host, router, f"h{self._ports}", self._daemon)
            self._attachments[place] = made
            fresh.append(made)
        self._attachments[place].take(host)
        return self._attachments[place]

    def _let_go(self, host: RunningHost) -> None:
        """Remove what a host held that has ended."""
        self._detach(host.request)
        if host.name in self._slow:
            self._slow.pop(host.name).remove()

    def _detach(self, host: HostRequest) -> None:
        """Remove the host's place, and with the last one the NATs; do nothing if it has none."""
        attachment = self._attachments.get((host.region, host.key))
        if attachment is None or attachment.places.pop(host.name, None) is None:
            return
        if not attachment.places:
            del self._attachments[host.region, host.key]
            nat.close(attachment.nats)
            self._routers[host.region].addresses.release(host.key)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def is_running(pid: int) -> bool:
    """Return whether a child runs; reap it if it has died."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the daemon's log
