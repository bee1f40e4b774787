"""Headscale's programs send only to hosts of the stack, on a real lab."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

from e3 import contact
from e3.interfaces import Host, Process
from e3.overlays.tailscale.headscale import Headscale
from tests.labs import running

SNIFF = """
import json, select, socket, struct, sys
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
tap.bind(("eth0", 3))
print(flush=True)
seen = set()
while True:
    for ready in select.select([tap, sys.stdin], [], [])[0]:
        if ready is sys.stdin:
            sys.stdin.readline()
            print(json.dumps(sorted(seen)), flush=True)
            sys.exit()
        packet, (_, kind, way, *_) = tap.recvfrom(65_535)
        if way == socket.PACKET_OUTGOING and kind == 0x0800:
            seen.add(socket.inet_ntoa(packet[16:20]))
        # multicast is the kernel's, and stays on the link
        if way == socket.PACKET_OUTGOING and kind == 0x86DD and packet[24] != 0xFF:
            seen.add(socket.inet_ntop(socket.AF_INET6, packet[24:40]))
"""
NAMES = ("ams3-0", "ams3-1", "sgp1-0")
QUIET_SECONDS = 5.0
"""Long enough for periodic packets: netcheck, keep-alives, retries of a look-up."""


def test_nothing_is_sent_out_of_the_fleet(tmp_path: Path) -> None:
    with running(tmp_path / "lab", {}, ("ams3", "sgp1")) as lab:
        handles = lab.add_hosts([(name, name.partition("-")[0]) for name in NAMES])
        hosts = [handle.host() for handle in handles]
        sent = asyncio.run(sent_to(hosts))
        assert sent >= {host.underlay for host in hosts}
        assert sent <= {address for host in hosts for address in (host.underlay, host.underlay6)}


async def sent_to(hosts: list[Host]) -> set[str]:
    """Return where hosts send packets while the overlay is set up, used and idle."""
    overlay = Headscale()
    async with AsyncExitStack() as stack:

        async def tap(host: Host) -> Process:
            attached = host.access.attach([host.python, "-I", "-c", SNIFF])
            process = await stack.enter_async_context(attached)
            assert await process.stdout.readline() == b"\n"
            return process

        taps = [await tap(host) for host in hosts]
        network = await overlay.connect(hosts, None, None)
        await contact.verify_pairs(overlay, hosts, network, timeout_seconds=60)
        await asyncio.sleep(QUIET_SECONDS)
        for process in taps:
            process.stdin.write(b"enough\n")
        return {address for p in taps for address in json.loads(await p.stdout.readline())}
