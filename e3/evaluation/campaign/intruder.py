"""Who has not joined tries to reach a member; and traffic between members that is no MPC."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from e3.deployed import Stack
from e3.errors import HostError
from e3.evaluation.diagnosis import measure_throughput
from e3.evaluation.fields import Count, Part
from e3.evaluation.observations import Attack, AttackKind
from e3.interfaces import PARTY_PORT, File, Host, Network, Process
from e3.lab.vantage import Vantages
from e3.remote.tasks import gather_or_cancel

FOLDER = Path(__file__).parents[2] / "remote"
INTRUSION, INTRUSION_ON_HOST = FOLDER / "intrusion.py", "/run/e3/intrusion.py"
REQUESTS, REQUESTS_ON_HOST = FOLDER / "requests.py", "/run/e3/requests.py"
SECONDS = 30.0


class Came(Part, frozen=True, kw_only=True):
    """How many connections and datagrams came to a listener."""

    tcp: Count
    udp: Count


class Opened(Part, frozen=True, kw_only=True):
    """Whether a connection was opened."""

    tcp: bool


async def attacks(
    outsider: Host, target: Host, network: Network, members: Sequence[Host], places: Vantages
) -> list[Attack]:
    """Return what a host that never joined reaches of a member of its region (`AttackKind`)."""
    address = network.addresses[target.name]
    script = File(path=INTRUSION_ON_HOST, content=INTRUSION.read_bytes())
    for host in (outsider, target):
        await host.access.put([script], timeout_seconds=SECONDS)
    others = [network.addresses[host.name] for host in members if host != target]
    kinds: Sequence[tuple[AttackKind, str]] = (("on-link", ""), ("borrowed-address", others[-1]))
    found = [await _attack("outsider", outsider, target, address, "")]
    async with AsyncExitStack() as opened:
        if address != target.underlay:
            await opened.enter_async_context(places.delivered(address, target))
        for kind, source in kinds:
            if source:
                await _do(outsider, ["ip", "address", "replace", f"{source}/32", "dev", "lo"])
            found.append(await _attack(kind, outsider, target, address, source))
    return found


async def _attack(
    kind: AttackKind, outsider: Host, target: Host, address: str, source: str
) -> Attack:
    port = str(PARTY_PORT)
    listen = [target.python, "-I", "-S", INTRUSION_ON_HOST, "listen", address, port]
    dial = [outsider.python, "-I", "-S", INTRUSION_ON_HOST, "dial", address, port]
    async with target.access.attach(listen) as listener:
        await _ready(listener, target)
        done = await outsider.access.run(
            [*dial, *([source] if source else [])], timeout_seconds=SECONDS
        )
        listener.stdin.write(b"\n")
        async with asyncio.timeout(SECONDS):
            await listener.stdin.drain()
            line = await listener.stdout.readline()
    try:
        opened = msgspec.json.decode(done.stdout, type=Opened)
        came = msgspec.json.decode(line, type=Came)
    except (msgspec.DecodeError, ValueError):
        raise HostError(
            f"an attack on {target.name} could not be tried: {done.complaint}"
        ) from None
    return Attack(attack=kind, target=target.name, opened=opened.tcp, arrived_datagrams=came.udp)


async def bulk(joined: Stack, draw: random.Random, seconds: float) -> None:
    """Send as much as possible from one host to another that it can dial."""
    source, target = draw.choice(_dialled(joined))
    await measure_throughput(source, target, joined.network, seconds)


async def requests(joined: Stack, draw: random.Random, seconds: float) -> None:
    """Let each host ask those that it can dial for pages of random sizes."""
    pairs = _dialled(joined)
    addresses = joined.network.addresses
    script = File(path=REQUESTS_ON_HOST, content=REQUESTS.read_bytes())
    await gather_or_cancel(
        host.access.put([script], timeout_seconds=SECONDS) for host in joined.hosts
    )
    async with AsyncExitStack() as opened:
        for host in {target.name: target for _, target in pairs}.values():
            serve = [host.python, "-I", "-S", REQUESTS_ON_HOST, "serve"]
            argv = [*serve, addresses[host.name], str(PARTY_PORT)]
            await _ready(await opened.enter_async_context(host.access.attach(argv)), host)

        async def ask(host: Host) -> None:
            peers = [addresses[target.name] for source, target in pairs if source == host]
            if peers:
                words = ["ask", addresses[host.name], str(PARTY_PORT), str(draw.random())]
                argv = [host.python, "-I", "-S", REQUESTS_ON_HOST, *words, str(seconds), *peers]
                await host.access.run(argv, timeout_seconds=seconds + SECONDS)

        await gather_or_cancel(map(ask, joined.hosts))


def _dialled(joined: Stack) -> list[tuple[Host, Host]]:
    """Return the ordered pairs of hosts of which the first can dial the second."""
    hosts, crosses = joined.hosts, joined.overlay.needs.crosses_nats
    return [
        (source, target)
        for source in hosts
        for target in hosts
        if source != target and (crosses or target.reachability == "public")
    ]


async def _ready(process: Process, host: Host) -> None:
    async with asyncio.timeout(SECONDS):
        if await process.stdout.readline() != b"\n":
            raise HostError(f"{host.name} cannot listen at its overlay address")


async def _do(host: Host, argv: Sequence[str]) -> None:
    done = await host.access.run(argv, timeout_seconds=SECONDS)
    if done.exit:
        raise HostError(f"{host.name}: {' '.join(argv)}: {done.complaint}")
