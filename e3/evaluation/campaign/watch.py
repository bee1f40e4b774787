"""Watch a lab's packets where others could: on the wire, at routers, beside a party, at a server.

A capture begins on each of these places and counts (e3/remote/capture.py); `Watch.take` returns
what each saw since, with addresses as hosts. Only a lab's network can be watched so.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from e3.deployed import Stack
from e3.errors import HostError
from e3.evaluation.campaign.traffic import Packet
from e3.evaluation.fields import Count, Part, Word
from e3.evaluation.observations import Phase, Vantage, View
from e3.interfaces import File, Host, Reader, Writer
from e3.lab.client import HostHandle, Lab
from e3.lab.vantage import vantages
from e3.remote.tasks import gather_or_cancel

SCRIPT = Path(__file__).parents[2] / "remote" / "capture.py"
ON_HOST = "/run/e3/capture.py"
ANSWER_SECONDS = 60.0
START_SECONDS = 20.0
MOST = 100_000
CANARY = "canary"


class Seen(Part, frozen=True, kw_only=True):
    """What a capture answers about one of its views (e3/remote/capture.py)."""

    packets: Count
    bytes: Count
    needles: Annotated[dict[Word, Count], Meta(max_length=MOST)]
    pairs: Annotated[list[tuple[Word, Word, Count]], Meta(max_length=MOST)]
    addresses: Annotated[list[Word], Meta(max_length=MOST)]
    series: Annotated[list[tuple[int, Count, Count, Count]], Meta(max_length=MOST)]
    unseen: Count


@dataclass(frozen=True, kw_only=True)
class Post:
    """A capture that runs; ``views`` says which observer each of its views is."""

    where: str
    views: Mapping[str, Vantage]
    stdin: Writer
    stdout: Reader


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Which host each address belongs to, on the underlay and on the overlay."""

    underlay: Mapping[str, str]
    overlay: Mapping[str, str]

    def host(self, address: str) -> str | None:
        """Return the host of an address of either kind."""
        return self.underlay.get(address) or self.overlay.get(address)


class Watch:
    """All captures of a lab."""

    def __init__(self, posts: Sequence[Post], addresses: Addresses, names: Sequence[str]) -> None:
        """Use these captures; `open_watch` starts them."""
        self._posts, self._addresses, self._names = posts, addresses, names

    async def take(self, phase: Phase) -> tuple[list[View], list[Packet]]:
        """Return what each observer saw since the last time, and the packets on the wire."""
        answers = await gather_or_cancel(map(_ask, self._posts))
        views: dict[tuple[Vantage, str], list[Seen]] = {}
        wire: list[Packet] = []
        for post, answer in zip(self._posts, answers, strict=True):
            for name, vantage in post.views.items():
                seen = answer[name]
                place = "" if vantage == "wire" else post.where
                views.setdefault((vantage, place), []).append(seen)
                if vantage == "wire":
                    ends = seen.addresses
                    wire += [(t, size, ends[a], ends[b]) for t, size, a, b in seen.series]
        found = [self._view(who, where, phase, seen) for (who, where), seen in views.items()]
        return found, wire

    def _view(self, vantage: Vantage, where: str, phase: Phase, seen: Sequence[Seen]) -> View:
        known = self._addresses
        ends = {
            end for each in seen for source, target, _ in each.pairs for end in (source, target)
        }
        hosts = {known.underlay[end] for end in ends if end in known.underlay}
        pairs = {
            (source, target)
            for each in seen
            for one, other, _ in each.pairs
            if (source := known.host(one)) and (target := known.host(other)) and source != target
        }
        return View(
            vantage=vantage,
            where=where,
            phase=phase,
            packets=sum(each.packets for each in seen),
            bytes=sum(each.bytes for each in seen),
            unseen_packets=sum(each.unseen for each in seen),
            canary_packets=sum(each.needles.get(CANARY, 0) for each in seen),
            hosts=sorted(hosts),
            overlay_hosts=sorted({known.overlay[end] for end in ends if end in known.overlay}),
            names=sorted({n for each in seen for n in found_names(each.needles, self._names)}),
            pairs=sorted(pairs),
        )


@asynccontextmanager
async def open_watch(
    stack: Stack, lab: Lab, canary: str, *, third: Sequence[Host], neighbours: Sequence[HostHandle]
) -> AsyncIterator[Watch]:
    """Start all captures; they end with the context.

    ``canary`` is the text to look for, ``third`` the hosts that take no part in a session, and
    ``neighbours`` hosts of the lab that the overlay does not know.
    """
    places = vantages(lab)
    names = [host.name for host in stack.hosts]
    script = File(path=ON_HOST, content=SCRIPT.read_bytes())
    posts: list[Post] = []
    async with AsyncExitStack() as opened:

        async def at_router(where: str, place: str, views: Mapping[str, Sequence[str]]) -> None:
            argv = [sys.executable, "-I", "-S", str(SCRIPT)]
            process = await opened.enter_async_context(places.attach(place, argv))
            assert process.stdin is not None  # noqa: S101 - it was asked for as a pipe
            assert process.stdout is not None  # noqa: S101 - the same
            posts.append(await _begin(where, views, process.stdin, process.stdout))

        async def at_host(host: Host, views: Mapping[str, Sequence[str]]) -> None:
            await host.access.put([script], timeout_seconds=START_SECONDS)
            argv = [host.python, "-I", "-S", ON_HOST]
            process = await opened.enter_async_context(host.access.attach(argv))
            posts.append(await _begin(host.name, views, process.stdin, process.stdout))

        async def _begin(
            where: str, views: Mapping[str, Sequence[str]], stdin: Writer, stdout: Reader
        ) -> Post:
            asked = {"needles": needles(canary, names), "views": views}
            stdin.write(json.dumps(asked).encode() + b"\n")
            async with asyncio.timeout(START_SECONDS):
                await stdin.drain()
                if await stdout.readline() != b"\n":
                    raise HostError(f"{where}: its packets cannot be captured")
            known = {view: VANTAGES[view] for view in views}
            return Post(where=where, views=known, stdin=stdin, stdout=stdout)

        for region, place in places.regions.items():
            await at_router(region, place, {"wire>": ["wan0", "to"], "region": ["br0"]})
        for host, place in places.homes.items():
            await at_router(host, place, {"home": ["lan"]})
        for handle in neighbours:
            await at_host(handle.host(), {"neighbour": ["*"]})
        for member in third:
            await at_host(member, {"third": ["*"]})
        addresses = Addresses(
            underlay={
                address: host.name
                for host in stack.hosts
                for address in (*places.outside.get(host.name, ()), host.underlay)
            },
            overlay={
                address: name
                for name, address in stack.network.addresses.items()
                if address not in {host.underlay for host in stack.hosts}
            },
        )
        yield Watch(posts, addresses, names)


VANTAGES: Mapping[str, Vantage] = {
    "wire>": "wire",
    "region": "region-router",
    "home": "home-router",
    "neighbour": "neighbour",
    "third": "third-party",
}
"""The observers by the names that captures have for their views."""


def needles(canary: str, names: Sequence[str]) -> dict[str, str]:
    """Return what is looked for, in hexadecimal by label: the canary, and names of hosts.

    tinc writes a name with an underscore.
    """
    forms = [form for name in names for form in (name, name.replace("-", "_"))]
    return {CANARY: canary.encode().hex(), **{form: form.encode().hex() for form in forms}}


def found_names(found: Mapping[str, int], names: Sequence[str]) -> list[str]:
    """Return the hosts of which any form of their name was found."""
    return [name for name in names if found.get(name) or found.get(name.replace("-", "_"))]


async def _ask(post: Post) -> Mapping[str, Seen]:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            post.stdin.write(b"take\n")
            await post.stdin.drain()
            line = await post.stdout.readline()
        seen = msgspec.json.decode(line, type=dict[str, Seen])
    except (TimeoutError, OSError, ValueError, msgspec.DecodeError) as error:
        raise HostError(f"the capture at {post.where} does not answer: {error}") from None
    if set(seen) != set(post.views):
        raise HostError(f"the capture at {post.where} tells of other views than it was asked for")
    return seen
