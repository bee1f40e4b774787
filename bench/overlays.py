"""What overlays cost: the time to connect every pair, to add a host to fifty, and throughput.

Each figure is printed beside its limit, with the processor time of E3 and its commands, which
depends least on other load; the load is recorded, too. Throughput is compared with that of the same
tool set up by hand (bench/by_hand.py), in turn on the same machine: on all processors, and on one.
On one processor the ratio is that of the work for a byte; on all it also depends on where Linux
places daemons and iperf3, which changes a run by a third. Each stream through Tor uses another
circuit, so use many repetitions. MPyC's own TLS is the same by hand, so it is not compared.

    python -m bench.overlays --repetitions 3 nebula wireguard libp2p:discovery=dht
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from bench.by_hand import BY_HAND, ByHand, take_another_circuit
from e3 import contact
from e3.access.namespace import NamespaceAccess
from e3.authority import nebula_cert, x509
from e3.authority.local import NebulaCa
from e3.experiment import Choice, Rules
from e3.interfaces import PARTY_PORT, PROBE_PORT, Authority, Host, Network, Overlay, Service
from e3.lab import client
from e3.overlays import OVERLAYS
from e3.preflight import Equipment
from e3.registry import build
from e3.remote.tasks import gather_or_cancel
from e3.session.plan import plan
from e3.session.programs import load
from e3.session.run_session import SessionSpec, run_session

SETUP_SECONDS = {
    "didcomm": 3,
    "nebula": 2,
    "wireguard": 2,
    "headscale": 5,
    "iroh": 3,
    "libp2p": 2.5,
    "openvpn": 3,
    "tinc": 3,
    "tor": 20,
    "tls": 0.5,
}
"""At most, from the last service's start to the last pair's first data, in four regions."""

JOIN_SECONDS, MANY = 3.0, 50
SETTLE_SECONDS = {
    "nebula": 5.0,
    "wireguard": 5.0,
    "headscale": 60.0,
    "iroh": 5.0,
    "libp2p": 5.0,
    "openvpn": 5.0,
    "tinc": 5.0,
}
"""Of overlays to which a host is added, until fifty who have met are quiet again. Tailscale keeps
paths warm for 45 s after their last packet. What it takes with Tor is Tor's set-up; fifty agents of
didcomm are fifty Pythons of 45 MB, too many for one machine."""

LEAST_RATIO, LEAST_RATIOS = 0.95, {"didcomm": 0.9}
"""Of the throughput by hand; of those named less suffices: their tunnels check paths as well."""

YEAR_SECONDS = 365 * 86_400
CONTACT_SECONDS = 60.0
FLOOD_SECONDS = 3
REGIONS = {"ams3": 3, "nyc3": 1, "sfo3": 1, "sgp1": 1}
HELLO = client.PROJECT / "demos" / "helloworld.py"
DAEMONS = "e3-iroh,e3-libp2p,e3-tunnel,nebula,openvpn,wireguard-go,tincd,tailscaled,headscale,tor"
SERVICES = f"ps -C {DAEMONS} -o pid=,lstart= || :"


def built(name: str) -> Overlay:
    """Return an overlay by its name, which may have options, as in ``libp2p:discovery=dht``."""
    kind, _, options = name.partition(":")
    given = dict(option.split("=", 1) for option in options.split(",") if option)
    return build(OVERLAYS, Choice(name=kind, options=given), key="overlay")


def kind_of(name: str) -> str:
    """Return the name of an overlay without its options."""
    return name.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class Noted(NamespaceAccess):
    """The access to a host of a lab that notes when it started its last service."""

    started_at: list[float] = field(default_factory=list, compare=False)

    async def start(self, service: Service, *, timeout_seconds: float) -> None:
        """See `Access`."""
        await super().start(service, timeout_seconds=timeout_seconds)
        self.started_at.append(time.monotonic())


@contextmanager
def hosts_of(
    regions: Mapping[str, int],
    *,
    latency: bool,
    bridged: Callable[[client.Lab, str], None] | None = None,
) -> Iterator[list[Host]]:
    """Hold public hosts in regions with their usual latencies, or with none.

    ``bridged`` is called with the lab and each region once its hosts are there.
    """
    with tempfile.TemporaryDirectory(prefix="e3-bench-") as folder:
        pairs = {(a, b): 0.0 for a in regions for b in regions if a <= b}
        try:
            lab = client.start(Path(folder), None if latency else pairs)
            for region in regions:
                lab.add_region(region)
            names = [(f"{r}-{i}", r) for r, count in regions.items() for i in range(count)]
            made = [_noted(handle) for handle in lab.add_hosts(names)]
            if bridged is not None:
                for region in regions:
                    bridged(lab, region)
            yield made
        finally:
            client.stop(Path(folder))


def _noted(handle: client.HostHandle) -> Host:
    known = {each.name: getattr(handle.access, each.name) for each in fields(NamespaceAccess)}
    return replace(handle.host(), access=Noted(**known))


async def authority_of(overlay: Overlay) -> Authority | None:
    """Return an authority of the kind that the overlay asks for."""
    if overlay.needs.authority is None:
        return None
    certificate, key = await nebula_cert.make_authority("bench", YEAR_SECONDS)
    return NebulaCa(certificate=certificate, key=key)


@dataclass(frozen=True, kw_only=True)
class Joining:
    """What came of joining hosts: ``seconds`` from the services to the last pair's first data.

    ``all_seconds`` count from the begin of joining.
    """

    network: Network
    seconds: float
    all_seconds: float


async def join(
    overlay: Overlay, hosts: Sequence[Host], authority: Authority | None, before: Network | None
) -> Joining:
    """Join hosts and return once the path of every pair is final."""
    since = time.monotonic()
    network = await overlay.connect(hosts, authority, before)
    paths = await contact.verify_pairs(
        overlay, hosts, network, timeout_seconds=CONTACT_SECONDS, since=since
    )
    accesses = [host.access for host in hosts]
    started = [at for access in accesses if isinstance(access, Noted) for at in access.started_at]
    last = max(path.contact_seconds or 0.0 for path in paths)
    await contact.wait_for_direct(overlay, hosts, network, paths, since=since)
    return Joining(network=network, seconds=since + last - max(started), all_seconds=last)


async def setup(name: str, hosts: Sequence[Host]) -> float:
    """Return how long joining takes.

    Over Tor from the begin, when its network is up: its services are ready only when all know them.
    """
    overlay = built(name)
    authority = await authority_of(overlay)
    if name == "tor":
        before = (await join(overlay, hosts[:4], authority, None)).network
        return (await join(overlay, hosts, authority, before)).all_seconds
    return (await join(overlay, hosts, authority, None)).seconds


async def tls(hosts: Sequence[Host], sessions: Path) -> float:
    """Return how much longer the set-up of a session takes with TLS than without."""
    certificate, key = x509.make_authority("bench", YEAR_SECONDS)
    seconds = []
    for rules in (Rules(), Rules(tls=True)):
        result = await run_session(
            SessionSpec(
                plan=plan(
                    hosts=hosts,
                    addresses={host.name: host.underlay for host in hosts},
                    program=load(HELLO),
                    parties=len(hosts),
                ),
                hosts=hosts,
                overlay="plain",
                sessions=sessions,
                deadline_seconds=CONTACT_SECONDS,
                rules=rules,
                authority=x509.X509Authority(certificate=certificate, key=key),
            )
        )
        if result.setup_seconds is None:
            raise SystemExit(f"tls: {result.verdict}: {result.reason}")
        seconds.append(result.setup_seconds)
    return seconds[1] - seconds[0]


@dataclass(frozen=True, kw_only=True)
class Addition:
    """What it takes to join one more host, until it has exchanged data with each other one.

    ``services_stay`` says whether all services of the others are still the same processes.
    """

    seconds: float
    processor_seconds: float
    services_stay: bool


async def add_one(name: str, hosts: Sequence[Host]) -> Addition:
    """Join the last of the hosts to the others, which are joined already."""
    overlay, newcomer = built(name), hosts[-1]
    authority = await authority_of(overlay)
    before = await overlay.connect(hosts[:-1], authority, None)
    running = await gather_or_cancel(map(_services, hosts[:-1]))
    async with _answering(hosts[:-1], before):
        await asyncio.sleep(SETTLE_SECONDS[kind_of(name)])
        since, busy = time.monotonic(), processor_seconds()
        network = await overlay.connect(hosts, authority, before)
        await _meet(newcomer, hosts[:-1], network)
        seconds, used = time.monotonic() - since, processor_seconds() - busy
    return Addition(
        seconds=round(seconds, 3),
        processor_seconds=round(used, 2),
        services_stay=await gather_or_cancel(map(_services, hosts[:-1])) == running,
    )


def processor_seconds() -> float:
    """Return what this process and the commands that it waited for have used by now."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


async def _services(host: Host) -> bytes:
    return (await host.access.run(["sh", "-c", SERVICES], timeout_seconds=30)).stdout


@asynccontextmanager
async def _answering(hosts: Sequence[Host], network: Network) -> AsyncIterator[None]:
    """Let these hosts, who are joined, answer a newcomer."""
    async with AsyncExitStack() as stack:
        for host in hosts:
            await _probe(stack, host, network, [])
        yield


async def _meet(newcomer: Host, others: Sequence[Host], network: Network) -> None:
    """Return once the newcomer has exchanged data with each of the others."""
    async with AsyncExitStack() as stack:
        said = json.loads(await _probe(stack, newcomer, network, others))
    if said["errors"]:
        raise SystemExit(f"{newcomer.name} does not reach the others: {said['errors']}")


async def _probe(
    stack: AsyncExitStack, host: Host, network: Network, peers: Sequence[Host]
) -> bytes:
    """Return what e3/remote/probe.py says once it has met the peers; it then answers others."""
    argv = [host.python, "-I", "-S", "-c", contact.PROBE.read_text()]
    process = await stack.enter_async_context(host.access.attach(argv))
    task = {
        "name": host.name,
        "address": network.addresses[host.name],
        "port": PROBE_PORT,
        "peers": {peer.name: network.addresses[peer.name] for peer in peers},
        "first": [],
        "seconds": CONTACT_SECONDS,
    }
    process.stdin.write(json.dumps(task).encode() + b"\n")
    await process.stdin.drain()
    return await process.stdout.readline()


async def compare(
    name: str, by_hand: ByHand, hosts: Sequence[Host], repetitions: int
) -> dict[str, list[float]]:
    """Return Mbit/s of one TCP stream over E3's overlay and over the same tool, pair by pair."""
    overlay = built(name)
    authority = await authority_of(overlay)
    ours, theirs = hosts[:2], hosts[2:]
    network = (await join(overlay, ours, authority, None)).network
    found: dict[str, list[float]] = {"e3": [], "by_hand": []}
    async with by_hand(theirs, ours[0]) as address:
        given = network.addresses[ours[1].name]
        # With E3's Tor, and what forwards, the same port at other addresses leads to the others.
        theirs_at = () if name == "tor" else ("-B", address)
        streams = [("e3", ours, given, ("-B", given)), ("by_hand", theirs, address, theirs_at)]
        for i in range(repetitions):
            for whose, pair, target, at in streams if i % 2 else reversed(streams):
                if name == "tor":  # each circuit is another one, and as fast as it happens to be
                    await take_another_circuit(pair[0])
                found[whose].append(await _stream(pair, target, at))
    return found


async def _stream(hosts: Sequence[Host], address: str, at: Sequence[str]) -> float:
    source, target = hosts
    port = ("-p", str(PARTY_PORT))
    async with target.access.attach(["iperf3", "-s", "-1", "--forceflush", *port, *at]) as server:
        while b"listening" not in (line := await server.stdout.readline()):
            if not line:
                raise SystemExit("iperf3 does not serve; is it installed?")
        argv = ["iperf3", "-J", "-c", address, *port, "-t", str(FLOOD_SECONDS), "-O", "1"]
        done = await source.access.run(argv, timeout_seconds=60)
    said = json.loads(done.stdout)
    if "error" in said:
        raise SystemExit(f"iperf3: {said['error']}")
    return float(said["end"]["sum_received"]["bits_per_second"]) / 1e6


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure what overlays cost.")
    parser.add_argument("names", metavar="OVERLAY", nargs="*", help="default: all, and tls")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    options = parser.parse_args(argv)
    names = options.names or [name for name in SETUP_SECONDS if not _left_out(name)]
    load_average = os.getloadavg()[0]
    results = {
        "setup": _setups(names, options.repetitions),
        "add_one": _additions([name for name in names if kind_of(name) in SETTLE_SECONDS]),
        "throughput": _throughput(names, options.repetitions),
        "load_average": load_average,
    }
    print(f"load average before: {load_average:.1f} on {os.cpu_count()} cores")
    return {"overlays": results}


def _left_out(name: str) -> bool:
    """Return whether a program is missing that is built only where a stack asks for it."""
    return name in OVERLAYS and Equipment().left_out(OVERLAYS[name]().needs)


def _setups(names: Sequence[str], repetitions: int) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for name in names:
        seconds: list[float] = []
        used: list[float] = []
        for _ in range(repetitions):
            with hosts_of(REGIONS, latency=True) as hosts, tempfile.TemporaryDirectory() as folder:
                busy = processor_seconds()
                one = tls(hosts, Path(folder)) if name == "tls" else setup(name, hosts)
                seconds.append(round(asyncio.run(one), 3))
                used.append(round(processor_seconds() - busy, 2))
        found[name] = {"seconds": seconds, "processor_seconds": used}
        if (limit := SETUP_SECONDS.get(kind_of(name))) is not None:
            median = statistics.median(seconds)
            print(
                f"{_mark(median <= limit)} set-up {name:10} {median:7.2f} s   at most {limit:g}; "
                f"processors {statistics.median(used):.2f} s"
            )
    return found


def _additions(names: Sequence[str]) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for name in names:
        with hosts_of({"here": MANY + 1}, latency=False) as hosts:
            one = asyncio.run(add_one(name, hosts))
        found[name] = asdict(one)
        said = "the others' services stay" if one.services_stay else "services of others began anew"
        mark = _mark(one.services_stay and one.seconds <= JOIN_SECONDS)
        print(
            f"{mark} one to {MANY} {name:9} {one.seconds:7.2f} s   at most {JOIN_SECONDS:g}; "
            f"processors {one.processor_seconds:.2f} s; {said}"
        )
    return found


def _throughput(
    names: Sequence[str], repetitions: int
) -> dict[str, dict[str, dict[str, list[float]]]]:
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    everywhere = os.sched_getaffinity(0)
    for name in names:
        if name not in BY_HAND:
            continue
        found[name] = {}
        for place, processors in (("one", {max(everywhere)}), ("all", everywhere)):
            os.sched_setaffinity(0, processors)  # what is started from here on inherits it
            try:
                with hosts_of({"here": 4}, latency=False) as hosts:
                    each = asyncio.run(compare(name, BY_HAND[name], hosts, repetitions))
            finally:
                os.sched_setaffinity(0, everywhere)
            found[name][place] = each
            ours, theirs = statistics.median(each["e3"]), statistics.median(each["by_hand"])
            least = LEAST_RATIOS.get(name, LEAST_RATIO)
            mark = _mark(ours / theirs >= least) if place == "one" else "    "
            print(
                f"{mark} stream {name:10} on {place} {ours:7.0f} Mbit/s, by hand {theirs:.0f}: "
                f"{ours / theirs:.2f}, at least {least}"
            )
    return found


def _mark(good: bool) -> str:  # noqa: FBT001 - what it says
    return "OK  " if good else "MISS"


if __name__ == "__main__":
    main()
