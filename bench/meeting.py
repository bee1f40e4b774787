"""How soon all pairs talk once all have read an invitation, by `e3 invite` and `e3 join`.

Three people on hosts of a lab, each with a router, and a mediator on a public host. Time counts
from the moment the last guest is shown what is proposed, as everybody consents at once (`--yes`),
until each E3 has said that it is connected to both others.

    python -m bench.meeting --repetitions 3
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from e3.lab import client
from e3.lab.client import HostHandle, Lab
from e3.nats import Reachability

ROOT = Path(__file__).parents[1]
E3 = ROOT / "scripts/bin/e3"
PROGRAM = ROOT / "demos/helloworld.py"
NAMES = ("alice", "bob", "carol")
SECONDS = 60.0
PORT = 8440
REGIONS_MS = {("ams3", "nyc3"): 82.0, ("ams3", "sgp1"): 165.0, ("nyc3", "sgp1"): 230.0}
ZERO_MS = {("ams3", "ams3"): 0.0}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the people are, what is before them, and the seconds that it may take.

    The mediator is in the first region.
    """

    rtt_ms: Mapping[tuple[str, str], float]
    regions: tuple[str, str, str]
    before: Reachability
    most_seconds: float


ROUND_TRIPS = 6
FAR_SECONDS = 2.0 + ROUND_TRIPS * max(REGIONS_MS.values()) / 1000
PLACES = {
    "no latency, cone NATs": Place(
        rtt_ms=ZERO_MS,
        regions=("ams3", "ams3", "ams3"),
        before="port-restricted",
        most_seconds=1.0,
    ),
    "three regions, cone NATs": Place(
        rtt_ms=REGIONS_MS,
        regions=("ams3", "nyc3", "sgp1"),
        before="port-restricted",
        most_seconds=FAR_SECONDS,
    ),
    "three regions, relayed": Place(
        rtt_ms=REGIONS_MS,
        regions=("ams3", "nyc3", "sgp1"),
        before="symmetric",
        most_seconds=FAR_SECONDS + 3.0,
    ),
}


@contextmanager
def lab_of(place: Place) -> Iterator[tuple[HostHandle, Sequence[HostHandle]]]:
    """Hold a mediator's host and one for each person."""
    with tempfile.TemporaryDirectory(prefix="e3-bench-") as folder:
        try:
            lab: Lab = client.start(Path(folder), place.rtt_ms)
            for region in dict.fromkeys(place.regions):
                lab.add_region(region)
            people = dict(zip(NAMES, place.regions, strict=True))
            nats = dict.fromkeys(NAMES, place.before)
            mediator, *hosts = lab.add_hosts([("m", place.regions[0]), *people.items()], nats)
            yield mediator, hosts
        finally:
            client.stop(Path(folder))


@dataclass
class Running:
    """A command of E3 on a host, and what it says."""

    process: asyncio.subprocess.Process

    async def until(self, text: str, count: int = 1) -> str:
        """Return the line with that text, the last of so many."""
        assert self.process.stdout is not None  # noqa: S101 - it was asked for
        said = ""
        async for data in self.process.stdout:
            line = data.decode(errors="replace")
            said += line
            if text in line:
                count -= 1
                if not count:
                    return line
        raise SystemExit(f"waited for {text!r}; it said\n{said}")


@asynccontextmanager
async def typed(host: HostHandle, name: str, *words: str | Path) -> AsyncIterator[Running]:
    """Run `e3` as a person on a host; end it with the block."""
    environment = {**os.environ, "E3_HOME": f"/root/{name}", "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        *[*host.access.nsenter(), "--", E3, *words],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # nsenter has a child, which its own end does not reach
    )
    try:
        yield Running(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.communicate()


async def said(host: HostHandle, name: str, *words: str) -> str:
    """Return what a command prints at its end."""
    async with typed(host, name, *words) as running:
        out, _ = await running.process.communicate()
    return out.decode()


async def acquaint(hosts: Sequence[HostHandle]) -> None:
    """Let all know one another."""
    dids = {}
    for name, host in zip(NAMES, hosts, strict=True):
        dids[name] = json.loads(await said(host, name, "id", "--name", name, "--json"))["did"]
    for name, host in zip(NAMES, hosts, strict=True):
        for other in NAMES:
            if other != name:
                await said(host, name, "id", "--know", dids[other], other)


async def meet(mediator: HostHandle, hosts: Sequence[HostHandle]) -> float:
    """Return the seconds from the invitation, read by all, to all pairs connected."""
    url = f"http://{mediator.host().underlay}:{PORT}/"
    listen = f"{mediator.host().underlay}:{PORT}"
    async with AsyncExitStack() as stack, asyncio.timeout(SECONDS):
        serving = await stack.enter_async_context(
            typed(mediator, "mediator", "mediator", "--listen", listen)
        )
        await serving.until("takes messages")
        first, *others = hosts
        asked = ("invite", PROGRAM, "--parties", str(len(NAMES)), "--yes", "--mediator", url)
        inviting = await stack.enter_async_context(typed(first, NAMES[0], *asked))
        link = (await inviting.until("e3 join")).partition("'")[2].rpartition("'")[0]
        guests = [
            await stack.enter_async_context(typed(host, name, "join", link, "--yes"))
            for name, host in zip(NAMES[1:], others, strict=True)
        ]
        for guest in guests:
            await guest.until("invites you to compute")
        began = time.monotonic()
        for each in (inviting, *guests):
            await each.until("connected to party", len(NAMES) - 1)
        return time.monotonic() - began


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure how soon people who were invited talk.")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    arguments = parser.parse_args(argv)
    found: dict[str, list[float]] = {}
    load = os.getloadavg()[0]
    for name, place in PLACES.items():
        with lab_of(place) as (mediator, hosts):
            asyncio.run(acquaint(hosts))
            seconds = [asyncio.run(meet(mediator, hosts)) for _ in range(arguments.repetitions)]
        found[name] = [round(each, 3) for each in seconds]
        print(f"{name:28} {statistics.median(seconds):6.2f} s  (at most {place.most_seconds:.1f})")
    return {"meeting_seconds": found, "meeting_load_average": load}


if __name__ == "__main__":
    main()
