"""Each NAT class behaves as it is called: mapping and filtering in the terms of RFC 4787."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from e3.errors import LabError
from e3.experiment import Reachability
from e3.interfaces import Process
from e3.lab.client import HostHandle, Lab
from e3.lab.nat import NATS_BY_CLASS
from tests.labs import running

STUN = Path(__file__).parents[1] / "stun.py"
HERE, ELSEWHERE = 3478, 3479
OWN = 4242
PORTS = (443, 8443)
BEHIND = [kind for kind in NATS_BY_CLASS if kind != "public"]
CLASSES: dict[Reachability, tuple[str | None, str | None]] = {
    "public": ("endpoint-independent", "endpoint-independent"),
    "full-cone": ("endpoint-independent", "endpoint-independent"),
    "port-restricted": ("endpoint-independent", "address and port-dependent"),
    "symmetric": ("address and port-dependent", "address and port-dependent"),
    "cgnat": ("endpoint-independent", "address and port-dependent"),
    "udp-blocked": (None, None),
    "tcp-443-only": (None, None),
    "ipv6-only": ("endpoint-independent", "address and port-dependent"),
}
"""Mapping and filtering of each class; nothing where UDP does not pass."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two servers on the open network, and in another region a host of each class."""
    with running(tmp_path_factory.mktemp("nats"), {("a", "b"): 2.0}, ["a", "b"]) as lab:
        lab.add_hosts([("a-0", "a"), ("a-1", "a")])
        lab.add_hosts(
            [(kind, "b") for kind in NATS_BY_CLASS], {kind: kind for kind in NATS_BY_CLASS}
        )
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
        place = server.host().seen_from(self.host.host())
        seen = await self.obey(**{"ask": [place, port], "from": OWN})
        return (str(seen[0]), int(seen[1])) if isinstance(seen, list) else None

    async def send(self, text: str, port: int, to: tuple[str, int]) -> None:
        await self.obey(**{"send": text, "from": port, "to": list(to)})


async def speaking(stack: AsyncExitStack, host: HostHandle, *ports: int) -> Speaker:
    command = [sys.executable, "-I", "-S", str(STUN), *map(str, ports)]
    return Speaker(host, await stack.enter_async_context(host.access.attach(command)))


async def behaviour(
    hosts: dict[str, HostHandle], kind: Reachability
) -> tuple[str | None, str | None]:
    """Find out how the NAT before host ``kind`` maps and filters, from two hosts outside."""
    async with AsyncExitStack() as stack:
        one, other = [await speaking(stack, hosts[n], HERE, ELSEWHERE) for n in ("a-0", "a-1")]
        own = await speaking(stack, hosts[kind], OWN)
        first = await own.ask(hosts["a-0"], HERE)
        if first is None:
            return None, None
        # no packet went yet to where these come from
        await other.send("from another address", HERE, first)
        await one.send("from another port", ELSEWHERE, first)
        await one.send("from there", HERE, first)
        heard = await own.obey(**{"await": "from there", "at": OWN})
        assert isinstance(heard, list)
        ports = await own.ask(hosts["a-0"], ELSEWHERE), await own.ask(hosts["a-1"], HERE)
        return _mapping(first, *ports), _filtering(heard)


def _mapping(first: object, port: object, address: object) -> str:
    if first == port == address:
        return "endpoint-independent"
    return "address-dependent" if first == port else "address and port-dependent"


def _filtering(heard: list[str]) -> str:
    if "from another address" in heard:
        return "endpoint-independent"
    return "address-dependent" if "from another port" in heard else "address and port-dependent"


def said(host: HostHandle, *argv: str) -> str:
    done = asyncio.run(host.access.run(argv, timeout_seconds=60))
    return (done.stdout + done.stderr).decode()


def networks(lab: Lab) -> int:
    """Return how many network namespaces the lab's daemon holds open."""
    daemon = lab.status()["pid"]
    # one process: what is listed is still there when it is read
    listed = subprocess.run(["ls", "-l", f"/proc/{daemon}/fd"], capture_output=True, check=True)
    return listed.stdout.decode().count("net:[")


@pytest.mark.parametrize("kind", NATS_BY_CLASS)
def test_mapping_and_filtering(hosts: dict[str, HostHandle], kind: Reachability) -> None:
    assert asyncio.run(behaviour(hosts, kind)) == CLASSES[kind]


@pytest.mark.parametrize("kind", ["full-cone", "port-restricted", "cgnat", "ipv6-only"])
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


@pytest.mark.parametrize("kind", [kind for kind in BEHIND if CLASSES[kind][0]])
def test_a_nat_that_is_rebooted_knows_no_mapping(
    lab: Lab, hosts: dict[str, HostHandle], kind: Reachability
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
            assert (second == first) == (kind != "symmetric")  # the others keep a port that is free
            await server.send("again", HERE, second)
            assert await own.obey(**{"await": "again", "at": OWN}) == ["again"]

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["port-restricted", "cgnat", "ipv6-only"])
def test_a_nat_may_get_another_address(lab: Lab, kind: Reachability) -> None:
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
            others = {kind: await speaking(stack, hosts[kind]) for kind in BEHIND}
            for port in PORTS:
                await asyncio.gather(*(s.obey(listen=port) for s in (server, *others.values())))
            for kind, other in others.items():
                place = hosts["a-0"].host().seen_from(hosts[kind].host())
                opened = [await other.obey(dial=[place, p]) for p in PORTS]
                assert opened == [True, kind != "tcp-443-only"]
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
    with pytest.raises(LabError, match="no NAT 'double'; it has: public, full-cone"):
        lab.add_host("b-9", "b", "double")  # type: ignore[arg-type]
