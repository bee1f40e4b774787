"""A lab as the daemon holds it: its regions, hosts and links, and the verbs that change them."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from e3.errors import LabError, PlatformError
from e3.experiment import Reachability
from e3.lab import linux, nat
from e3.lab.addresses import MOST_REGIONS, RegionAddresses
from e3.lab.host import INTERFACE, Cable, Newborn, Plan, Surroundings, fork
from e3.lab.links import Link, Links, Pair
from e3.lab.names import Names, check_name
from e3.lab.router import Router, mac, set_straight
from e3.lab.wan import Wan

BATCH = 16  # hosts on their way at once; more only queue for the kernel's locks
BIRTH_SECONDS = 30.0


@dataclass(frozen=True)
class Wanted:
    """A host to be made."""

    name: str
    region: str
    reachability: Reachability


@dataclass(frozen=True)
class Site:
    """Where a host is to stand: its cable to the region's router, and the NATs between."""

    wanted: Wanted
    cable: Cable
    nats: Sequence[nat.Nat]

    @property
    def plan(self) -> Plan:
        """The host, on the innermost of the NATs."""
        cable = self.nats[-1].client if self.nats else self.cable
        return Plan(name=self.wanted.name, cable=cable)


@dataclass(frozen=True)
class Resident:
    """A host of the lab: its site, and its first process."""

    site: Site
    pid: int

    @property
    def name(self) -> str:
        """The host's name."""
        return self.site.wanted.name

    @property
    def region(self) -> str:
        """The host's region."""
        return self.site.wanted.region

    @property
    def addresses(self) -> tuple[str, ...]:
        """The host's own addresses, a private one behind a NAT; IPv4 first."""
        return self.site.plan.cable.addresses

    @property
    def outpost(self) -> tuple[str, str]:
        """Network namespace and first address of what stands on the region's network."""
        nats = self.site.nats
        place = f"/proc/self/fd/{nats[0].network}" if nats else f"/proc/{self.pid}/ns/net"
        return place, self.site.cable.addresses[0]


class LabState:
    """Everything that a lab consists of. Every verb may be called again to no effect."""

    def __init__(
        self, surroundings: Surroundings, rtt_ms: Mapping[Pair, float], daemon: int
    ) -> None:
        """Start with no region; ``daemon`` is a pidfd of this process."""
        self._surroundings = surroundings
        self._daemon = daemon
        self._links = Links(rtt_ms)
        self._routers: dict[str, Router] = {}
        self._remembered: dict[str, RegionAddresses] = {}
        self._hosts: dict[str, Resident] = {}
        self._names = Names(Path(surroundings.folder))
        self._ports = 0
        self.wan = Wan(daemon)

    def add_region(self, name: str) -> None:
        """Have a region of that name, linked with all others."""
        check_name("region", name)
        if name in self._routers:
            return
        router = Router.make(name, self._addresses(name))
        self._routers[name] = router
        self.wan.add(router.addresses.index, router.tun)
        self._link((name, other) for other in self._routers)

    def remove_region(self, name: str) -> None:
        """Have no region of that name, nor hosts in it."""
        if name not in self._routers:
            return
        self.remove_hosts([host for host, r in self._hosts.items() if r.region == name])
        router = self._routers[name]
        for other in list(router.straight):
            set_straight(router, self._routers[other], straight=False)
        self.wan.remove(router.addresses.index)
        del self._routers[name]
        router.close()

    def set_rtt(self, rtt_ms: Mapping[Pair, float]) -> None:
        """Have these round trips between pairs of regions, half of it each way."""
        for (one, other), value in rtt_ms.items():
            self._links.set_rtt(one, other, value)
        self._link(rtt_ms)

    def set_link(self, source: str, target: str, link: Link) -> None:
        """Have exactly ``link`` from one region to another."""
        self._links.set(source, target, link)
        self._link([(source, target)])

    def add_hosts(self, wanted: Sequence[Wanted]) -> list[Resident]:
        """Make hosts; one of that name that exists is replaced."""
        for host in wanted:
            self._check(host)
        self.remove_hosts([host.name for host in wanted])
        made: list[Resident] = []
        for start in range(0, len(wanted), BATCH):
            made += self._bear(wanted[start : start + BATCH])
        return made

    def remove_hosts(self, names: Iterable[str]) -> None:
        """Have no hosts of these names."""
        leaving = [self._hosts.pop(name) for name in names if name in self._hosts]
        for resident in leaving:
            _kill(resident.pid)
        for resident in leaving:
            _bury(resident.pid)
            nat.close(resident.site.nats)
            self._routers[resident.region].addresses.release(resident.name)
        self._names.remove(resident.name for resident in leaving)

    def renumber_host(self, name: str) -> Resident:
        """Give a host another address on its region's network; behind NATs, the outermost of them.

        Packets to the old address reach nobody. What the host's programs know of it is theirs.
        """
        resident = self._resident(name)
        site, router = resident.site, self._routers[resident.region]
        address, gateway = router.addresses.move(name), router.addresses.gateway
        ways = nat.ways(site.wanted.reachability, address, gateway)
        cable = replace(site.cable, ways=ways)
        nats = [each.readdress(cable, site.cable) for each in site.nats[:1]]
        moved = replace(resident, site=replace(site, cable=cable, nats=[*nats, *site.nats[1:]]))
        if moved.addresses != resident.addresses:
            network = os.open(f"/proc/{moved.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                with linux.inside_network(network):
                    moved.site.plan.cable.readdress(INTERFACE, site.plan.cable)
            finally:
                os.close(network)
        router.readdress(cable, site.cable)
        self._hosts[name] = moved
        self._names.add([(name, moved.addresses)])
        return moved

    def reboot_nat(self, name: str) -> None:
        """Have the NATs before a host lose all their mappings."""
        nats = self._resident(name).site.nats
        if not nats:
            raise LabError(f"host {name} is public: there is no NAT before it")
        for each in nats:
            each.reboot()

    def set_cable(self, name: str, *, whole: bool) -> None:
        """Cut a host off without a sign to itself, or have it back."""
        resident = self._resident(name)
        self._routers[resident.region].set_cable(resident.site.cable.port, whole=whole)

    def reap(self) -> None:
        """Take note of hosts that died by themselves; raise `LabError` if the WAN did."""
        for resident in [r for r in self._hosts.values() if not is_running(r.pid)]:
            del self._hosts[resident.name]
            nat.close(resident.site.nats)
            _log(f"host {resident.name} died")
        if not is_running(self.wan.pid):
            raise LabError("the lab's WAN died")

    def end(self) -> None:
        """Remove all hosts and regions."""
        self.remove_hosts(list(self._hosts))
        for router in self._routers.values():
            router.close()

    def tie(self) -> None:
        """Have the calling process, a child of the daemon, die with it."""
        linux.die_with_parent(self._daemon)

    def describe(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {
            "pid": os.getpid(),
            "wan_pid": self.wan.pid,
            "regions": {
                name: str(router.addresses.network) for name, router in self._routers.items()
            },
            "hosts": [self.describe_host(resident) for resident in self._hosts.values()],
        }

    def describe_host(self, resident: Resident) -> dict[str, Any]:
        """Return a host as JSON values."""
        return {
            "name": resident.name,
            "region": resident.region,
            "pid": resident.pid,
            "underlay": resident.addresses[0],
            "underlay6": "".join(resident.addresses[1:]),
            "reachability": resident.site.wanted.reachability,
            "in_user_namespace": self._surroundings.in_user_namespace,
        }

    def probes(self) -> dict[str, list[tuple[str, str]]]:
        """Return where a round trip can be measured: by region, network namespace and address.

        The addresses are of IPv4; with IPv6 the same packets take the same lines.
        """
        found: dict[str, list[tuple[str, str]]] = {}
        for name, router in self._routers.items():
            outposts = [r.outpost for r in self._hosts.values() if r.region == name]
            found[name] = [each for each in outposts if ":" not in each[1]][:2] or [
                (f"/proc/self/fd/{router.network}", str(router.addresses.gateway))
            ]
        return found

    def asked_rtt_ms(self, one: str, other: str) -> float:
        """Return the round trip that was asked for."""
        return self._links.asked_rtt_ms(one, other)

    def _resident(self, name: str) -> Resident:
        if name not in self._hosts:
            known = ", ".join(sorted(self._hosts)) or "none"
            raise LabError(f"the lab has no host {name!r}; it has: {known}")
        return self._hosts[name]

    def _addresses(self, region: str) -> RegionAddresses:
        """Return the region's addresses, the old ones if it was there before."""
        if region not in self._remembered:
            taken = {addresses.index for addresses in self._remembered.values()}
            free = [index for index in range(MOST_REGIONS) if index not in taken]
            if not free:
                raise LabError(f"a lab holds at most {MOST_REGIONS} regions")
            self._remembered[region] = RegionAddresses(free[0])
        return self._remembered[region]

    def _link(self, pairs: Iterable[Pair]) -> None:
        """Bring links between present regions to what is asked, in both directions."""
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
                set_straight(routers[a], routers[b], straight=plain)

    def _check(self, host: Wanted) -> None:
        check_name("host", host.name)
        if host.region not in self._routers:
            known = ", ".join(sorted(self._routers)) or "none"
            raise LabError(
                f"host {host.name}: the lab has no region {host.region!r}; it has: {known}"
            )
        if host.reachability not in nat.BOXES:
            known = ", ".join(nat.BOXES)
            raise LabError(
                f"host {host.name}: the lab has no NAT {host.reachability!r}; it has: {known}"
            )
        if host.reachability == "ipv6-only" and not linux.has_ipv6():
            raise PlatformError(
                f"host {host.name} is to have IPv6 alone, and this machine's kernel has none; "
                "choose another class in e3:nats, or boot it without ipv6.disable=1"
            )
        if nat.BOXES[host.reachability] and shutil.which("nft") is None:
            raise PlatformError(
                f"host {host.name}: a NAT needs nft; run `sudo apt-get install nftables`"
            )

    def _bear(self, wanted: Sequence[Wanted]) -> list[Resident]:
        sites: list[Site] = []
        newborns: list[Newborn] = []
        try:
            for host in wanted:
                sites.append(self._site(host))
                newborns.append(fork(sites[-1].plan, self._surroundings, self._daemon))
            for newborn in newborns:
                newborn.wait(BIRTH_SECONDS)
            for region in {host.region for host in wanted}:
                cables = [site.cable for site in sites if site.wanted.region == region]
                self._routers[region].plug_in(cables)
            for site in sites:
                if site.nats:
                    site.nats[-1].plug_in()
        except BaseException:
            for newborn in newborns:
                _kill(newborn.pid)
                _bury(newborn.pid)
            for site in sites:
                nat.close(site.nats)
            raise
        made = [Resident(site, n.pid) for site, n in zip(sites, newborns, strict=True)]
        self._hosts |= {resident.name: resident for resident in made}
        self._names.add((resident.name, resident.addresses) for resident in made)
        return made

    def _site(self, host: Wanted) -> Site:
        router = self._routers[host.region]
        address = router.addresses.take(host.name)
        self._ports += 1  # never the name of a cable that the kernel is still removing
        cable = Cable(
            ways=nat.ways(host.reachability, address, router.addresses.gateway),
            mac=mac(address),
            gateway_mac=mac(router.addresses.gateway),
            port=f"h{self._ports}",
            router=router.network,
        )
        return Site(host, cable, nat.stand_between(host.reachability, cable))


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _bury(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def is_running(pid: int) -> bool:
    """Return whether a child runs; one that died is buried, and so its number is free again."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the daemon's log
