"""An agent's messages: a station at each mediator of its network."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiohttp

from e3.agents.station import Station
from e3.didcomm.connection import Mediation
from e3.didcomm.errors import DidcommError
from e3.didcomm.messages import Identity, Received
from e3.didcomm.network.invitation import MediatorPlace

CONNECT_SECONDS = 5.0
MOST_WAITING = 1024


class Post:
    """Messages to and from an agent; those that cannot be passed on now are lost.

    A message goes by the first mediator that can be reached, and by all of them when it is sent
    again.
    """

    def __init__(self, identity: Identity, http: aiohttp.ClientSession) -> None:
        """Take messages for ``identity``."""
        self._identity = identity
        self._http = http
        self._stations: dict[MediatorPlace, Station] = {}
        self._tasks: dict[MediatorPlace, asyncio.Task[None]] = {}
        self._incoming: asyncio.Queue[Received] = asyncio.Queue(MOST_WAITING)
        self._group = asyncio.TaskGroup()

    @property
    def live(self) -> list[Station]:
        """The stations at mediators that can be reached now, in the order of the mediators."""
        return [each for each in self._stations.values() if each.is_live]

    def use(self, mediators: Iterable[MediatorPlace]) -> None:
        """Use these mediators from now on; connections to those that stay go on."""
        wanted = list(mediators)
        for gone in [each for each in self._stations if each not in wanted]:
            del self._stations[gone]
            self._tasks.pop(gone).cancel()
        for each in wanted:
            if each not in self._stations:
                place = Mediation(did=each.did, uri=f"http://{joined(each, each.port)}/")
                made = Station(self._identity, place, self._http, self._incoming)
                self._stations[each] = made
                # outlives: nothing, as `going_on` holds the group
                self._tasks[each] = self._group.create_task(made.serve())
        self._stations = {each: self._stations[each] for each in wanted}

    def send(self, to: str, kind: str, body: object, *, thid: str, everywhere: bool) -> None:
        """Send a message, by one mediator or by each."""
        for station in self.live[: None if everywhere else 1]:
            with contextlib.suppress(DidcommError):  # of a member whose DID is of no use
                station.send(to, kind, body, thid=thid)

    async def pass_on(self, to: str, kind: str, body: object, *, thid: str) -> None:
        """Send a message by one mediator, and return once that has it."""
        for station in self.live[:1]:
            with contextlib.suppress(DidcommError):
                station.send(to, kind, body, thid=thid)
                await station.sent_all()

    async def receive(self) -> Received:
        """Return the next message that passed every check."""
        return await self._incoming.get()

    def call_again(self) -> None:
        """Make all connections anew, as this host has another address."""
        for each in self._stations.values():
            each.call_again()

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Keep connected meanwhile."""
        async with self._group:
            try:
                yield
            finally:
                for task in self._tasks.values():
                    task.cancel()


def joined(place: MediatorPlace, port: int) -> str:
    """Return address and port of a mediator, by that address to which this host has a route."""
    usable = [each for each in place.addresses if has_route(each)] or list(place.addresses)
    return f"[{usable[0]}]:{port}" if ":" in usable[0] else f"{usable[0]}:{port}"


def has_route(address: str) -> bool:
    """Return whether this host has a route to an IP address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing
    except OSError:
        return False
    return True
