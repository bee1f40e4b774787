"""Measurements of a cell, on a real lab: what is changed is found, and is found only there."""

import asyncio
import time
from collections.abc import Iterator
from itertools import combinations_with_replacement

import pytest

from e3.deployed import Stack
from e3.evaluation.campaign import machine
from e3.evaluation.campaign.gauges import costs, open_gauges, throughput
from e3.evaluation.results import Disturbance, RoundTrip, Throughput
from e3.impairments import Impairment
from e3.lab.client import Lab
from tests.labs import running, unjoined

REGIONS = ("a", "b", "c")
RTT_MS = 10.0
TRIPS_MS = dict.fromkeys(combinations_with_replacement(REGIONS, 2), RTT_MS)
ECHOES = 15


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("lab"), TRIPS_MS, REGIONS) as lab:
        lab.add_hosts([(f"{region}-0", region) for region in REGIONS])
        yield lab


@pytest.fixture
def stack(lab: Lab) -> Iterator[Stack]:
    """Three hosts at equal distances, joined by nothing; the links are as before afterwards."""
    yield unjoined([handle.host() for handle in lab.hosts()])
    lab.impair({})
    lab.set_rtt(TRIPS_MS)


def trips(stack: Stack) -> list[RoundTrip]:
    async def measure() -> list[RoundTrip]:
        async with open_gauges(stack) as gauges:
            return await gauges.round_trips(ECHOES)

    return asyncio.run(measure())


def pairs(found: list[RoundTrip] | list[Throughput]) -> set[frozenset[str]]:
    return {frozenset((it.source[0], it.target[0])) for it in found}


def test_every_ordered_pair_is_measured_on_both_layers(stack: Stack) -> None:
    found = trips(stack)
    assert len({(it.source, it.target, it.layer) for it in found}) == len(found) == 12
    assert {(it.transport, it.sent) for it in found} == {("udp", ECHOES)}
    assert all(it.least_ms is not None and it.least_ms >= RTT_MS for it in found)


def test_a_delay_of_one_pair_is_found_there_and_only_there(lab: Lab, stack: Stack) -> None:
    lab.set_rtt({("a", "b"): RTT_MS + 10})
    found = trips(stack)
    # the least of several: what a busy machine adds is no delay of a link
    slow = [it for it in found if it.least_ms is not None and it.least_ms >= RTT_MS + 9.9]
    assert pairs(slow) == {frozenset("ab")}
    assert len(slow) == 4


def test_loss_of_one_pair_is_found_there(lab: Lab, stack: Stack) -> None:
    lab.impair({("a", "b"): Impairment(loss=0.5)})
    lossy = [it for it in trips(stack) if it.lost > ECHOES / 6]
    assert pairs(lossy) == {frozenset("ab")}


def test_where_no_udp_passes_tcp_is_measured(stack: Stack) -> None:
    async def measure() -> list[RoundTrip]:
        host = stack.hosts[0]
        table = ["nft", "add", "table", "inet", "trial"]
        chain = [*table[:1], "add", "chain", "inet", "trial", "out",
                 "{ type filter hook output priority 0 ; }"]  # fmt: skip
        rule = ["nft", "add", "rule", "inet", "trial", "out", "ip", "protocol", "udp", "drop"]
        for argv in (table, chain, rule):
            done = await host.access.run(argv, timeout_seconds=10)
            assert not done.exit, done.complaint
        try:
            async with open_gauges(stack) as gauges:
                return await gauges.round_trips(3)
        finally:
            await host.access.run(["nft", "delete", "table", "inet", "trial"], timeout_seconds=10)

    found = asyncio.run(measure())
    by_tcp = {(it.source, it.target) for it in found if it.transport == "tcp"}
    assert by_tcp == {("a-0", "b-0"), ("a-0", "c-0"), ("b-0", "a-0"), ("c-0", "a-0")}
    assert all(it.median_ms is not None for it in found)


def test_a_throttle_of_one_pair_is_found_there_and_only_there(lab: Lab, stack: Stack) -> None:
    lab.impair({("a", "b"): Impairment(rate_mbit=2), ("b", "a"): Impairment(rate_mbit=2)})
    measured = trips(stack)
    found = asyncio.run(throughput(stack, measured, pairs=3, seconds=1.0))
    assert len(pairs(found)) == 3
    slow = [it for it in found if it.mbit_per_second is not None and it.mbit_per_second < 3]
    assert pairs(slow) == {frozenset("ab")}
    assert {it.layer for it in slow} == {"underlay", "overlay"}


def test_bytes_on_the_wire_are_those_of_the_interface(stack: Stack) -> None:
    async def measure() -> tuple[int, int]:
        async with open_gauges(stack) as gauges:
            before = await gauges.read(reset=True)
            await gauges.round_trips(10)
            after = await gauges.read()
        assert not machine.clock_disturbances(before.usage["a-0"], after.usage["a-0"], "a-0")
        found = costs(before, after)[0]
        assert found.sent_wire_bytes is not None
        assert found.sent_packets is not None
        return found.sent_wire_bytes, found.sent_packets

    sent_bytes, packets = asyncio.run(measure())
    # ten echoes to two hosts on two layers, and as many answers; 64 bytes each and their headers
    assert packets >= 80
    assert sent_bytes >= 80 * (64 + 28)


def test_a_hog_is_found_in_the_machines_processor_times(lab: Lab) -> None:
    async def hog() -> list[Disturbance]:
        labs = [int(lab.status()["pid"])]
        before = machine.look(labs)
        # of another parent: neither ours nor the lab's
        argv = ["setsid", "--fork", "timeout", "1.5", "sh", "-c", "while :; do :; done"]
        process = await asyncio.create_subprocess_exec(*argv)
        await process.wait()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            if found := machine.disturbances(before, machine.look(labs), 1, local=True):
                return found
        return []

    assert [it.kind for it in asyncio.run(hog())] == ["cpu"]
