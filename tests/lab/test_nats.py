"""Each NAT behaves as it is called or described, in the terms of RFC 4787, seen from outside."""

import asyncio
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest

from e3.errors import ConfigurationError, LabError
from e3.interfaces import Process
from e3.lab.client import HostHandle, Lab
from e3.nats import CLASSES, NAT64_PREFIX, Dependence, NatBehaviour
from tests.labs import running

STUN = Path(__file__).parents[1] / "stun.py"
HERE, ELSEWHERE, FRESH = 3478, 3479, 3480
OWN, WANTED = 4242, 5555
PORTS = (443, 8443)
TIMEOUT_SECONDS = 2
OPEN: Dependence = "endpoint-independent"
ADDRESS: Dependence = "address-dependent"
STRICT: Dependence = "address-and-port-dependent"
KINDS: dict[str, str | NatBehaviour] = {
    **{kind: kind for kind in CLASSES if kind != "http-proxy"},  # test_http_proxy.py has that
    **{kind: kind for kind in ("home", "corporate", "cloud-nat", "mobile", "hotel", "mtu-1280")},
    "drawn": NatBehaviour(ports="random"),
    "by-address": NatBehaviour(mapping=ADDRESS, filtering=ADDRESS, ports="random"),
    "by-port": NatBehaviour(mapping=STRICT, filtering=OPEN, ports="random"),
    "drawn-open": NatBehaviour(ports="random", filtering=OPEN),
    "double": NatBehaviour(filtering=OPEN, carrier=NatBehaviour(filtering=ADDRESS)),
}
"""What the hosts of one region are behind, by host."""

UDP_FREE = ("udp-blocked", "tcp-443-only", "corporate", "hotel")
FIREWALLED = ("tcp-443-only", "corporate")
DIALLING = ("full-cone", "symmetric", "cgnat", "udp-blocked", "ipv6-only", *FIREWALLED)
EXPECTED: dict[str, tuple[str | None, str | None, bool]] = {
    "public": (OPEN, OPEN, True),
    "full-cone": (OPEN, OPEN, True),
    "address-restricted": (OPEN, ADDRESS, True),
    "port-restricted": (OPEN, STRICT, True),
    "symmetric": (STRICT, STRICT, False),
    "cgnat": (OPEN, STRICT, True),
    "ipv6-only": (OPEN, STRICT, True),
    "home": (OPEN, STRICT, True),
    "cloud-nat": (STRICT, STRICT, False),
    "mobile": (STRICT, STRICT, False),
    "mtu-1280": (OPEN, STRICT, True),
    "drawn": (OPEN, STRICT, False),
    "by-address": (ADDRESS, ADDRESS, False),
    "by-port": (STRICT, OPEN, False),
    "drawn-open": (OPEN, OPEN, False),
    "double": (OPEN, ADDRESS, True),
    **dict.fromkeys(UDP_FREE, (None, None, False)),
}
"""Mapping, filtering and whether the port is preserved; nothing where UDP does not pass."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two servers on the open network, and in another region a host of each kind."""
    with running(tmp_path_factory.mktemp("nats"), {("a", "b"): 2.0}, ["a", "b"]) as lab:
        lab.add_hosts([("a-0", "a"), ("a-1", "a")])
        lab.add_hosts([(kind, "b") for kind in KINDS], KINDS)
        yield lab


@pytest.fixture
def hosts(lab: Lab) -> dict[str, HostHandle]:
    return {host.name: host for host in lab.hosts()}


@dataclass(frozen=True)
class Speaker:
    """A host that runs tests/stun.py."""

    host: HostHandle
    process: Process

    async def obey(self, **order: object) -> object:
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        await self.process.stdin.drain()
        return json.loads(await self.process.stdout.readline())

    async def ask(self, server: HostHandle, port: int) -> tuple[str, int] | None:
        """Return the address and port as which ``server`` sees this host's port `OWN`."""
        return await self.ask_at(server.host().seen_from(self.host.host()), port)

    async def ask_at(self, address: str, port: int) -> tuple[str, int] | None:
        """Return the same of the host at an address."""
        seen = await self.obey(**{"ask": [address, port], "from": OWN})
        return (str(seen[0]), int(seen[1])) if isinstance(seen, list) else None

    async def hears(self, text: str, *, at: int = OWN) -> bool:
        """Return whether a text arrives within a moment."""
        return isinstance(await self.obey(**{"await": text, "at": at}), list)

    async def send(self, text: str, port: int, to: tuple[str, int]) -> None:
        await self.obey(**{"send": text, "from": port, "to": list(to)})


async def speaking(stack: AsyncExitStack, host: HostHandle, *ports: int) -> Speaker:
    command = [sys.executable, "-I", "-S", str(STUN), *map(str, ports)]
    return Speaker(host, await stack.enter_async_context(host.access.attach(command)))


async def behaviour(hosts: dict[str, HostHandle], kind: str) -> tuple[str | None, str | None, bool]:
    """Find out how the NAT before host ``kind`` maps and filters, from two hosts outside."""
    async with AsyncExitStack() as stack:
        servers = hosts["a-0"], hosts["a-1"]
        one, other = [await speaking(stack, host, HERE, ELSEWHERE, FRESH) for host in servers]
        own = await speaking(stack, hosts[kind], OWN)
        first = await own.ask(hosts["a-0"], HERE)
        if first is None:
            return None, None, False
        # no packet went yet to where these come from
        await other.send("from another address", HERE, first)
        await one.send("from another port", ELSEWHERE, first)
        await one.send("from there", HERE, first)
        heard = await own.obey(**{"await": "from there", "at": OWN})
        assert isinstance(heard, list)
        # and none came from here: an answer to one that came would leave from where it arrived
        ports = await own.ask(hosts["a-0"], FRESH), await own.ask(hosts["a-1"], FRESH)
        return _mapping(first, *ports), _filtering(heard), first[1] == OWN


def _mapping(first: object, port: object, address: object) -> str:
    if first == port == address:
        return OPEN
    return ADDRESS if first == port else STRICT


def _filtering(heard: list[str]) -> str:
    if "from another address" in heard:
        return OPEN
    return ADDRESS if "from another port" in heard else STRICT


def said(host: HostHandle, *argv: str) -> str:
    done = asyncio.run(host.access.run(argv, timeout_seconds=60))
    return (done.stdout + done.stderr).decode()


def networks(lab: Lab) -> int:
    """Return how many network namespaces the lab's daemon holds open."""
    daemon = lab.status()["pid"]
    # one process: what is listed is still there when it is read
    listed = subprocess.run(["ls", "-l", f"/proc/{daemon}/fd"], capture_output=True, check=True)
    return listed.stdout.decode().count("net:[")


@pytest.mark.parametrize("kind", KINDS)
def test_mapping_filtering_and_ports(hosts: dict[str, HostHandle], kind: str) -> None:
    found = asyncio.run(behaviour(hosts, kind))
    assert found == EXPECTED[kind]


@pytest.mark.parametrize("kind", ["full-cone", "address-restricted", "cgnat", "ipv6-only", "drawn"])
def test_an_early_packet_of_a_peer_moves_no_port(hosts: dict[str, HostHandle], kind: str) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            await speaking(stack, hosts["a-0"], HERE)
            peer = await speaking(stack, hosts["a-1"], HERE)
            own = await speaking(stack, hosts[kind], OWN)
            seen = await own.ask(hosts["a-0"], HERE)
            assert seen is not None
            await peer.send("early", HERE, seen)
            assert await own.ask(hosts["a-1"], HERE) == seen

    asyncio.run(run())


@pytest.mark.parametrize(
    "kind", ["full-cone", "address-restricted", "symmetric", "cgnat", "ipv6-only", "drawn-open"]
)
def test_a_nat_that_is_rebooted_knows_no_mapping(
    lab: Lab, hosts: dict[str, HostHandle], kind: str
) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            server = await speaking(stack, hosts["a-0"], HERE)
            own = await speaking(stack, hosts[kind], OWN)
            first = await own.ask(hosts["a-0"], HERE)
            assert first is not None
            await server.send("before", HERE, first)
            assert await own.obey(**{"await": "before", "at": OWN}) == ["before"]
            await asyncio.to_thread(lab.reboot_nat, kind)
            await server.send("after", HERE, first)
            assert await own.obey(**{"await": "after", "at": OWN}) is None
            second = await own.ask(hosts["a-0"], HERE)
            assert second is not None
            assert (second == first) == EXPECTED[kind][2]  # the others keep a port that is free
            await server.send("again", HERE, second)
            assert await own.obey(**{"await": "again", "at": OWN}) == ["again"]

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["port-restricted", "cgnat", "ipv6-only"])
def test_a_nat_may_get_another_address(lab: Lab, kind: str) -> None:
    host = lab.add_host("b-8", "b", kind)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            server = {h.name: h for h in lab.hosts()}["a-0"]
            await speaking(stack, server, HERE)
            own = await speaking(stack, host, OWN)
            first = await own.ask(server, HERE)
            moved = await asyncio.to_thread(lab.renumber_host, "b-8")
            # of its own network at home, unless nothing translates
            assert (moved.underlay == host.underlay) == (kind != "ipv6-only")
            second = await own.ask(server, HERE)
            assert first is not None
            assert second is not None
            assert first[0] != second[0]

    try:
        asyncio.run(run())
    finally:
        lab.remove_host("b-8")


def test_a_host_without_a_nat_has_none_to_be_rebooted(lab: Lab) -> None:
    with pytest.raises(LabError, match="host a-0 is public"):
        lab.reboot_nat("a-0")


def test_hosts_behind_nats_dial_out_and_nobody_dials_in(hosts: dict[str, HostHandle]) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            server = await speaking(stack, hosts["a-0"])
            others = {kind: await speaking(stack, hosts[kind]) for kind in DIALLING}
            for port in PORTS:
                await asyncio.gather(*(s.obey(listen=port) for s in (server, *others.values())))
            for kind, other in others.items():
                place = hosts["a-0"].host().seen_from(hosts[kind].host())
                opened = [await other.obey(dial=[place, p]) for p in PORTS]
                assert opened == [True, kind not in FIREWALLED]
                assert await server.obey(dial=[hosts[kind].underlay, PORTS[0]]) is False

    asyncio.run(run())


def test_two_networks_behind_nats_do_not_know_each_other(hosts: dict[str, HostHandle]) -> None:
    one, other = hosts["full-cone"], hosts["port-restricted"]
    assert "Unreachable" in said(one, "ping", "-c1", "-W2", other.underlay)


def test_a_carrier_translates_once_more(hosts: dict[str, HostHandle]) -> None:
    host, server = hosts["cgnat"], hosts["a-0"].underlay
    assert "From 172." in said(host, "ping", "-c1", "-W2", "-t1", server)
    assert "From 100." in said(host, "ping", "-c1", "-W2", "-t2", server)
    assert "From 198.18." in said(host, "ping", "-c1", "-W2", "-t3", server)


def test_who_has_ipv6_alone_is_pinged_by_ipv6_and_has_nothing_else(
    hosts: dict[str, HostHandle],
) -> None:
    host, server = hosts["ipv6-only"], hosts["a-0"]
    assert "Network is unreachable" in said(host, "ping", "-c1", "-W2", server.underlay)
    assert said(host, "ip", "-4", "route") == ""
    # RFC 4890, 4.3.1: echo requests pass the filter, and they take the line of their regions
    for source, target in ((host, server.underlay6), (server, host.underlay)):
        shown = said(source, "ping", "-c5", "-i0.1", "-W2", target)
        assert float(shown.rpartition("mdev = ")[2].partition("/")[0]) >= 2


def test_round_trips_are_measured_up_to_the_routers(lab: Lab) -> None:
    assert lab.measure()["a", "b"] >= 2


def test_a_nat_goes_with_its_host_and_comes_back_as_it_was(lab: Lab) -> None:
    before = networks(lab)
    first = lab.add_host("b-9", "b", "cgnat")
    assert networks(lab) == before + 2
    again = lab.add_host("b-9", "b", "cgnat")
    assert (again.underlay, again.reachability) == (first.underlay, "cgnat")
    assert networks(lab) == before + 2
    lab.remove_host("b-9")
    assert networks(lab) == before
    mortal = lab.add_host("b-9", "b", "symmetric")
    descriptor = os.pidfd_open(mortal.identity.pid)
    os.kill(mortal.identity.pid, signal.SIGKILL)
    assert select.select([descriptor], [], [], 10)[0]
    os.close(descriptor)
    assert networks(lab) == before


def test_a_class_that_does_not_exist_is_refused(lab: Lab) -> None:
    with pytest.raises(ConfigurationError, match="NAT of host b-9 is 'double'; choose one of publ"):
        lab.add_host("b-9", "b", "double")


def test_a_mapping_lives_as_long_as_it_is_used(lab: Lab, hosts: dict[str, HostHandle]) -> None:
    """RFC 4787, REQ-5 and REQ-6."""
    limit = NatBehaviour(filtering=ADDRESS, udp_timeout_seconds=TIMEOUT_SECONDS)
    host = lab.add_host("b-8", "b", limit)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            server = await speaking(stack, hosts["a-0"], HERE)
            brief, usual = (
                await speaking(stack, host, OWN),
                await speaking(stack, hosts["home"], OWN),
            )
            places = [await it.ask(hosts["a-0"], HERE) for it in (brief, usual)]
            for _ in range(3):
                await asyncio.sleep(TIMEOUT_SECONDS / 2)  # that much time is what is tested
                assert await brief.ask(hosts["a-0"], HERE) == places[0]
            await asyncio.sleep(TIMEOUT_SECONDS + 1)
            for one, place in zip((brief, usual), places, strict=True):
                assert place is not None
                await server.send("late", HERE, place)
                assert await one.hears("late") == (one is usual)

    try:
        asyncio.run(run())
    finally:
        lab.remove_host("b-8")


@pytest.mark.skipif(shutil.which("tayga") is None, reason="TAYGA is not installed")
def test_a_nat64_leads_to_ipv4(lab: Lab, hosts: dict[str, HostHandle]) -> None:
    """RFC 6146, with the addresses of RFC 6052."""
    host = lab.add_host("b-8", "b", "nat64")
    prefix = IPv6Network(NAT64_PREFIX).network_address
    embedded = {n: str(prefix + int(IPv4Address(hosts[n].underlay))) for n in ("a-0", "a-1")}

    async def run() -> None:
        async with AsyncExitStack() as stack:
            servers = [await speaking(stack, hosts[name], HERE) for name in embedded]
            own = await speaking(stack, host, OWN)
            seen = [await own.ask_at(address, HERE) for address in embedded.values()]
            assert seen[0] is not None
            assert seen[0] == seen[1]
            assert IPv4Address(seen[0][0]) in IPv4Network("198.18.0.0/15")
            straight = await own.ask(hosts["a-0"], HERE)
            assert straight is not None
            assert ":" in straight[0]  # by IPv6, as before
            await servers[0].send("an answer", HERE, seen[0])
            assert await own.hears("an answer")
            await servers[0].obey(listen=PORTS[0])
            assert await own.obey(dial=[embedded["a-0"], PORTS[0]])
            await asyncio.to_thread(lab.reboot_nat, "b-8")
            assert await own.ask_at(embedded["a-0"], HERE) is not None
            await asyncio.to_thread(lab.renumber_host, "b-8")
            moved = await own.ask_at(embedded["a-0"], HERE)
            assert moved is not None
            assert moved[0] != seen[0][0]

    try:
        assert host.reachability == "ipv6-only"
        assert "Network is unreachable" in said(host, "ping", "-c1", hosts["a-0"].underlay)
        asyncio.run(run())
    finally:
        lab.remove_host("b-8")


HOMES = {
    "strict": NatBehaviour(shared="strict"),
    "turning": NatBehaviour(shared="turning", hairpinning=True),
    "drawing": NatBehaviour(shared="drawing", hairpinning=True, ports="random"),
    "changing": NatBehaviour(shared="changing", hairpinning=True, mapping=STRICT, ports="random"),
}


@pytest.fixture(scope="module")
def homes(lab: Lab) -> dict[str, list[HostHandle]]:
    """Two hosts behind each of some NATs, that all use the same port."""
    names = {f"{home}-{i}": home for home in HOMES for i in (0, 1)}
    made = lab.add_hosts([(name, "b") for name in names], {n: HOMES[h] for n, h in names.items()})
    return {home: [host for host in made if names[host.name] == home] for home in HOMES}


@pytest.mark.parametrize("home", HOMES)
def test_two_hosts_behind_one_nat(
    hosts: dict[str, HostHandle], homes: dict[str, list[HostHandle]], home: str
) -> None:
    """RFC 4787, REQ-1, REQ-3 and REQ-9: neither takes the other's port, and they meet outside."""
    first, second = homes[home]
    behaviour = HOMES[home]

    async def run() -> None:
        async with AsyncExitStack() as stack:
            for name in ("a-0", "a-1"):
                await speaking(stack, hosts[name], HERE)
            speakers = [await speaking(stack, host, OWN) for host in (first, second)]
            one, other = [await it.ask(hosts["a-0"], HERE) for it in speakers]
            assert one is not None
            assert other is not None
            assert one[0] == other[0]  # they have one address outside
            assert one[1] != other[1]
            for it, seen in zip(speakers, (one, other), strict=True):
                again = await it.ask(hosts["a-1"], HERE)
                assert (again == seen) == (behaviour.mapping == OPEN)
            turned = await speakers[0].ask_at(*other)
            if not behaviour.hairpinning:
                assert turned is None
            else:
                assert turned is not None
                assert turned[0] == other[0]  # from outside, as it seems
                assert (turned == one) == (behaviour.mapping == OPEN)

    asyncio.run(run())
    assert " 0% packet loss" in said(first, "ping", "-c1", "-W2", second.underlay)


def test_a_shared_nat_goes_with_its_last_host(lab: Lab) -> None:
    before = networks(lab)
    shared = NatBehaviour(shared="flat", carrier=NatBehaviour())
    first, second = lab.add_hosts([("b-8", "b"), ("b-9", "b")], {"b-8": shared, "b-9": shared})
    assert networks(lab) == before + 2
    assert (first.reachability, first.underlay != second.underlay) == ("cgnat", True)
    with pytest.raises(LabError, match="host b-7: the NAT that it is to share with b-8 differs"):
        lab.add_host("b-7", "b", NatBehaviour(shared="flat"))
    again = lab.add_host("b-8", "b", shared)
    assert again.underlay == first.underlay
    assert " 0% packet loss" in said(again, "ping", "-c1", "-W2", second.underlay)
    outside = {host["name"]: host["outside"] for host in lab.status()["hosts"]}
    lab.renumber_host("b-9")
    moved = {host["name"]: host["outside"] for host in lab.status()["hosts"]}
    assert outside["b-8"] == outside["b-9"] != moved["b-9"] == moved["b-8"]
    others = {f"b-1{i}": shared for i in range(4)}
    with pytest.raises(LabError, match="the NAT that it is to share has its 5 hosts"):
        lab.add_hosts([(name, "b") for name in others], others)
    assert not {*others} & {host.name for host in lab.hosts()}
    lab.remove_hosts(["b-8", "b-9"])
    assert networks(lab) == before


def wish(gateway: str, own: str, *, life_seconds: int, protocol: int = 17) -> dict[str, object]:
    """Return the order to ask a router by PCP (RFC 6887, 11) for port 5555 before `OWN`."""
    client = IPv6Address(f"::ffff:{own}").packed
    data = struct.pack("!BBHI16s", 2, 1, 0, life_seconds, client)
    data += struct.pack("!12sB3xHH16s", bytes(12), protocol, OWN, WANTED, bytes(16))
    return {"exchange": data.hex(), "to": [gateway, 5351]}


def test_a_host_gets_a_port_that_all_can_send_to(lab: Lab, hosts: dict[str, HostHandle]) -> None:
    host = lab.add_host("b-8", "b", "port-mapping")
    gateway = said(host, "ip", "-4", "route", "show", "default").split()[2]

    async def run() -> None:
        async with AsyncExitStack() as stack:
            server = await speaking(stack, hosts["a-0"], HERE)
            own = await speaking(stack, host, OWN)
            outside = {h["name"]: h["outside"][0] for h in lab.status()["hosts"]}["b-8"]
            place = (outside, WANTED)
            told = await own.obey(exchange="0000", to=[gateway, 5351])  # RFC 6886, 3.2
            assert isinstance(told, str)
            assert IPv4Address(bytes.fromhex(told)[8:]) == IPv4Address(outside)
            await server.send("too early", HERE, place)
            assert not await own.hears("too early")
            for protocol in (6, 17):
                granted = await own.obey(
                    **wish(gateway, host.underlay, life_seconds=60, protocol=protocol)
                )
                assert isinstance(granted, str)
                assert struct.unpack_from("!BBBBI", bytes.fromhex(granted)) == (2, 129, 0, 0, 60)
                assert struct.unpack_from("!HH", bytes.fromhex(granted), 40) == (OWN, WANTED)
            await server.send("unasked", HERE, place)
            assert await own.hears("unasked")
            await own.obey(listen=OWN)
            assert await server.obey(dial=list(place))
            other = await speaking(stack, hosts["a-1"], HERE, ELSEWHERE)
            assert await own.ask(hosts["a-1"], HERE) == place  # it leaves from there, too
            await own.obey(**wish(gateway, host.underlay, life_seconds=0))
            await other.send("returned", ELSEWHERE, place)
            assert not await own.hears("returned")
            await asyncio.to_thread(lab.reboot_nat, "b-8")
            await server.send("too late", HERE, place)
            assert not await own.hears("too late")
            again = await own.obey(**wish(gateway, host.underlay, life_seconds=1))
            assert isinstance(again, str)
            assert bytes.fromhex(again)[3] == 0  # and after its reboot the router serves again
            assert await server.obey(exchange="0000", to=[outside, 5351]) is None  # only inside

    try:
        asyncio.run(run())
    finally:
        lab.remove_host("b-8")


def test_large_packets_vanish_without_a_word(hosts: dict[str, HostHandle]) -> None:
    """A path MTU black hole: RFC 2923, 2.1."""
    host, server = hosts["mtu-1280"], hosts["a-0"].underlay
    for length, answered in ((1280, True), (1281, False)):
        sized = ["-M", "do", "-s", str(length - 28)]
        shown = said(host, "ping", "-c2", "-i0.1", "-W1", *sized, server)
        assert (" 0% packet loss" in shown) == answered
        assert "Frag needed" not in shown
        assert "Message too long" not in shown
    assert " 0% packet loss" in said(host, "ping", "-c1", "-W1", "-M", "dont", "-s", "2000", server)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            outside = await speaking(stack, hosts["a-0"], HERE)
            own = await speaking(stack, host, OWN)
            place = await own.ask(hosts["a-0"], HERE)
            assert place is not None
            for length, arrives in ((1280, True), (1281, False)):
                text = "x" * (length - 28)
                await outside.send(text, HERE, place)
                assert await own.hears(text) == arrives
                await own.send(text, OWN, (server, HERE))
                assert await outside.hears(text, at=HERE) == arrives

    asyncio.run(run())
