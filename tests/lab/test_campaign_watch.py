"""Observers of a real lab: each sees what passes it, and no other does."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from typing import Any

import pytest

from e3.deployed import Stack
from e3.evaluation.campaign import intruder
from e3.evaluation.campaign.gauges import ON_HOST, SCRIPT
from e3.evaluation.campaign.watch import open_watch
from e3.evaluation.observations import View
from e3.interfaces import PARTY_PORT, File, Host, Needs, Network, Service
from e3.lab.client import HostHandle, Lab
from e3.lab.vantage import vantages
from e3.overlays import strong_host
from tests.labs import running, unjoined

CANARY = "5f2c" * 16
REGIONS = ("a", "b")
SEND = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2]))).sendall(b'%s')"
TAKE = (
    "import socket,sys; s = socket.create_server((sys.argv[1], int(sys.argv[2]))); "
    "print(flush=True); c = s.accept()[0]\nwhile c.recv(4096): pass\nprint('all')"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    rtt_ms = dict.fromkeys(combinations_with_replacement(REGIONS, 2), 2.0)
    with running(tmp_path_factory.mktemp("lab"), rtt_ms, REGIONS) as lab:
        rows = [("a-0", "a"), ("a-1", "a"), ("b-0", "b")]
        lab.add_hosts(rows, {"a-1": "port-restricted"})
        yield lab


@pytest.fixture(scope="module")
def outsider(lab: Lab) -> HostHandle:
    return lab.add_host("outsider", "a")


@pytest.fixture
def stack(lab: Lab, outsider: HostHandle) -> Stack:
    hosts = [handle.host() for handle in lab.hosts() if handle.name != outsider.name]
    return unjoined(hosts)


async def send(source: Host, target: Host) -> None:
    """Send the canary from one host to another, and wait until it is there."""
    end = [target.underlay, str(PARTY_PORT)]
    async with target.access.attach([target.python, "-c", TAKE, *end]) as taking:
        assert await taking.stdout.readline() == b"\n"
        argv = [source.python, "-c", SEND % CANARY, *end]
        done = await source.access.run(argv, timeout_seconds=20)
        assert not done.exit, done.complaint
        assert await taking.stdout.readline() == b"all\n"


def by_observer(views: Sequence[View]) -> dict[tuple[str, str], View]:
    return {(view.vantage, view.where): view for view in views}


def test_who_is_on_the_way_reads_the_canary_and_nobody_else(
    lab: Lab, stack: Stack, outsider: HostHandle
) -> None:
    hosts = {host.name: host for host in stack.hosts}

    async def watched() -> tuple[list[View], list[View], int]:
        async with open_watch(
            stack, lab, CANARY, third=[hosts["a-0"]], neighbours=[outsider]
        ) as watch:
            await watch.take("before")
            await send(hosts["a-1"], hosts["b-0"])
            views, packets = await watch.take("during")
            again, _ = await watch.take("after")
            return views, again, len(packets)

    views, again, packets = asyncio.run(watched())
    seen = by_observer(views)
    reading = {observer for observer, view in seen.items() if view.canary_packets}
    assert reading == {
        ("wire", ""),
        ("region-router", "a"),
        ("region-router", "b"),
        ("home-router", "a-1"),
    }
    # behind the NAT too, the outer address is known as that of its host
    assert seen["wire", ""].hosts == ["a-1", "b-0"]
    assert seen["wire", ""].pairs == [("a-1", "b-0"), ("b-0", "a-1")]
    assert packets == seen["wire", ""].packets > 4
    assert not seen["neighbour", "outsider"].hosts
    assert not seen["third-party", "a-0"].hosts
    assert not any(view.canary_packets for view in again)


def test_an_attack_reaches_what_nothing_protects(
    lab: Lab, stack: Stack, outsider: HostHandle
) -> None:
    """The control of all attacks: a kernel takes packets for its address at any interface."""
    target = next(host for host in stack.hosts if host.name == "a-0")
    network = Network(addresses={**stack.network.addresses, "a-0": "10.77.0.1"})
    needs = Needs(tun=True)

    async def attacked() -> dict[str, tuple[bool, int]]:
        found = await intruder.attacks(outsider.host(), target, network, stack.hosts, vantages(lab))
        return {each.attack: (each.opened, each.arrived_datagrams) for each in found}

    async def twice() -> tuple[dict[str, tuple[bool, int]], dict[str, tuple[bool, int]]]:
        await on(target, "ip", "tuntap", "add", "dev", "e3-example", "mode", "tun")
        try:
            await on(target, "ip", "address", "add", "10.77.0.1/16", "dev", "e3-example")
            await on(target, "ip", "link", "set", "e3-example", "up")
            open_to_all = await attacked()
            for _ in range(2):  # again replaces the rules
                await strong_host.enforce("example", needs, [target], network)
            return open_to_all, await attacked()
        finally:
            await strong_host.lift("example", needs, [target])
            await on(target, "ip", "link", "delete", "e3-example")

    before, after = asyncio.run(twice())
    assert before["outsider"] == (False, 0)
    assert before["on-link"] == (True, 3)
    # the answer to a borrowed address goes to its owner
    assert before["borrowed-address"][0] is False
    assert after == {"outsider": (False, 0), "on-link": (False, 0), "borrowed-address": (False, 0)}
    assert asyncio.run(on(target, "nft", "list", "tables")) == ""


async def on(host: Host, *argv: str) -> str:
    """Run a command on a host that must succeed; return what it printed."""
    done = await host.access.run(argv, timeout_seconds=10)
    assert done.exit == 0, done.complaint
    return done.stdout.decode()


def test_a_text_is_found_in_the_memory_of_a_daemon_and_another_is_not(stack: Stack) -> None:
    host = next(host for host in stack.hosts if host.name == "b-0")
    held, other = "6a" * 32, "6b" * 32
    hold = f"import time; x = bytes.fromhex('{held}') * 9; time.sleep(600)"
    wanted = json.dumps({"held": held, "other": other}).encode()

    async def searched() -> dict[str, Any]:
        script = File(path=ON_HOST, content=SCRIPT.read_bytes())
        await host.access.put([script], timeout_seconds=10)
        service = Service(name="holder", argv=[host.python, "-c", hold])
        await host.access.start(service, timeout_seconds=30)
        try:
            argv = [host.python, "-I", "-S", ON_HOST, "search"]
            done = await host.access.run(argv, stdin=wanted, timeout_seconds=30)
            assert not done.exit, done.complaint
            found: dict[str, Any] = json.loads(done.stdout)
            return found
        finally:
            await host.access.stop("holder", timeout_seconds=30)

    deadline = time.monotonic() + 30
    while (answer := asyncio.run(searched()))["found"]["held"] == 0:
        assert time.monotonic() < deadline, answer  # Python may still be starting
    assert answer["found"]["other"] == 0
    assert answer["bytes"] > 1_000_000
