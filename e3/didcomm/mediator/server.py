"""The mediator on the network: DIDComm over HTTP POST and WebSocket at one port."""

import asyncio
import contextlib
import ipaddress
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from e3.didcomm.envelope import ENCRYPTED, MESSAGE_BYTES
from e3.didcomm.errors import DidcommError
from e3.didcomm.mediator.mediator import Mediator, invitation
from e3.didcomm.mediator.queues import Limits, Rates
from e3.remote.tasks import beside

READ_SECONDS = 15.0
"""For a whole request to arrive."""

HEARTBEAT_SECONDS = 20.0
TIDY_SECONDS = 10.0
BACKLOG_BYTES = 8 << 20
"""What waits to be written on one connection, before its party counts as slow."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a mediator listens, and the URI by which parties call it.

    Requests from the addresses ``proxies`` are of whom the header X-Forwarded-For names last.
    """

    host: str
    port: int
    uri: str
    tls: ssl.SSLContext | None = None
    proxies: frozenset[str] = frozenset()


class _Open:
    """A WebSocket of a party; a task of its own writes what is sent."""

    stays = True

    def __init__(self, socket: web.WebSocketResponse, customer: str) -> None:
        self.customer = customer
        self._socket = socket
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._backlog = 0

    def send(self, data: bytes) -> bool:
        if self._backlog + len(data) > BACKLOG_BYTES:
            return False
        self._backlog += len(data)
        self._outgoing.put_nowait(data)
        return True

    async def write(self) -> None:
        """Write for ever."""
        while True:
            data = await self._outgoing.get()
            await self._socket.send_bytes(data)
            self._backlog -= len(data)


class _Once:
    """A request of a party: it takes one answer."""

    stays = False

    def __init__(self, customer: str) -> None:
        self.customer = customer
        self.answer = b""

    def send(self, data: bytes) -> bool:
        self.answer = self.answer or data
        return True


class Server:
    """Serves one mediator."""

    def __init__(self, mediator: Mediator, limits: Limits, place: Place) -> None:
        """Serve ``mediator`` at a place."""
        self._mediator = mediator
        self._limits = limits
        self._uri = place.uri
        self._proxies = place.proxies
        self._rates = Rates(limits)
        self._open: Counter[str] = Counter()

    @property
    def connections(self) -> int:
        """How many WebSockets are open."""
        return self._open.total()

    def application(self) -> web.Application:
        """Return the routes of the server."""
        made = web.Application(client_max_size=MESSAGE_BYTES)
        made.router.add_get("/", self._get)
        made.router.add_post("/", self._post)
        return made

    async def tidy(self) -> None:
        """Drop for ever what is too old."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            self._mediator.tidy()
            self._rates.forget(time.monotonic())

    async def _get(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_SECONDS, max_msg_size=MESSAGE_BYTES, compress=False
        )
        if not socket.can_prepare(request):
            body = invitation(self._mediator.identity, self._uri)
            return web.Response(body=body, content_type="application/json")
        address = self._customer(request)
        if self._open[address] >= self._limits.connections:
            raise web.HTTPTooManyRequests(text="too many connections from this address")
        self._open[address] += 1
        try:
            await socket.prepare(request)
            await self._converse(socket, address)
        finally:
            self._open[address] -= 1
            self._open += Counter()  # forgets addresses without any
        return socket

    async def _converse(self, socket: web.WebSocketResponse, address: str) -> None:
        link = _Open(socket, address)
        try:
            async with beside(link.write()):
                async for part in socket:
                    if part.type not in {WSMsgType.BINARY, WSMsgType.TEXT}:
                        break
                    data = part.data if isinstance(part.data, bytes) else part.data.encode()
                    if not self._rates.allow(address, len(data), time.monotonic()):
                        await socket.close(code=1008, message=b"too many messages")
                        break
                    with contextlib.suppress(DidcommError):
                        self._mediator.take(data, link)
        except ConnectionError:
            return  # the writer's: the reader ends as well
        finally:
            self._mediator.leave(link)

    async def _post(self, request: web.Request) -> web.Response:
        if request.content_type != ENCRYPTED:
            raise web.HTTPUnsupportedMediaType(text=f"send {ENCRYPTED}")
        try:
            async with asyncio.timeout(READ_SECONDS):
                data = await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the message took too long") from None
        address = self._customer(request)
        if not self._rates.allow(address, len(data), time.monotonic()):
            raise web.HTTPTooManyRequests(text="too many messages from this address")
        link = _Once(address)
        try:
            self._mediator.take(data, link)
        except DidcommError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        if link.answer:
            return web.Response(body=link.answer, content_type=ENCRYPTED)
        return web.Response(status=202)

    def _customer(self, request: web.Request) -> str:
        """Return whose request it is; a proxy of ours is believed, and nobody else."""
        named = ",".join(request.headers.getall("X-Forwarded-For", []))
        return customer(origin(request.remote or "", named, self._proxies))


def origin(address: str, forwarded: str, proxies: Container[str]) -> str:
    """Return the address that a request came from, as far as ``proxies`` tell.

    Each proxy adds the address that called it at the end of ``forwarded``; what is before the
    first one that is no proxy of ours was written by that one, and may be anything.
    """
    hops = [each.strip() for each in forwarded.split(",") if each.strip()]
    while hops and address in proxies:
        address = hops.pop()
    return address


def customer(address: str) -> str:
    """Return whose an address is: of IPv6 its /64, as one customer has 2^64 addresses."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, 64), strict=False))


@asynccontextmanager
async def serving(mediator: Mediator, limits: Limits, place: Place) -> AsyncIterator[Server]:
    """Serve meanwhile; raise `OSError` if the port cannot be had."""
    server = Server(mediator, limits, place)
    runner = web.AppRunner(
        server.application(),
        access_log=None,
        keepalive_timeout=READ_SECONDS,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, place.host, place.port, ssl_context=place.tls)
        await site.start()
        async with beside(server.tidy()):
            yield server
    finally:
        await runner.cleanup()
