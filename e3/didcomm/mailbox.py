"""A party at its mediators: registered there, reached at once, and connected again after a break.

What is sent may be lost, come late or twice, as a mediator may restart or be malicious; protocols
above repeat what was not answered. A party with two mediators is sent each message through both,
so that one of them may be dead.
"""

import asyncio
import contextlib
import email.utils
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

import aiohttp
import msgspec
from msgspec import UNSET, Meta

from e3.didcomm import did as dids
from e3.didcomm import messages
from e3.didcomm.connection import UNREACHABLE, Connection, Mediation
from e3.didcomm.did import Document, Service
from e3.didcomm.envelope import ENCRYPTED, MESSAGE_BYTES
from e3.didcomm.errors import DidcommError
from e3.didcomm.messages import Did, Identity, Received, Unpacker, body_of
from e3.didcomm.protocols import PICKUP, PROBLEM, Problem
from e3.didcomm.proxy import connector
from e3.remote.tasks import gather_or_cancel, running
from e3.remote.text import printable

ANSWER_SECONDS = 10.0
LAST_SECONDS = 2.0
"""For what waits to be sent when a mailbox is closed."""

MOST_OUTGOING = 512
MOST_PLACES = 2
"""Of a DID's services, those to which a message for it goes."""

INCOMING_BYTES = 32 << 20
"""Of messages that nobody has asked for yet; further ones are lost until there is room."""

PAGE_BYTES = 65_536
SCHEMES = ("http://", "https://", "ws://", "wss://")


class _Told(msgspec.Struct):
    accept: list[str] = []
    uri: Annotated[str, Meta(max_length=300)] = ""


class _Page(msgspec.Struct, rename={"did": "from"}):
    did: Did
    body: _Told


Outgoing = asyncio.Queue[tuple[Service, bytes]]
"""Messages that wait to be sent, each with the place that takes it."""


class Mailbox:
    """The messages of one identity; `opened` makes it."""

    def __init__(
        self,
        identity: Identity,
        mediations: Sequence[Mediation],
        http: aiohttp.ClientSession,
        *,
        hidden: bool = False,
    ) -> None:
        """Take messages for ``identity``, whose DID names the mediations as its services.

        If ``hidden``, all goes by those mediators: no other place that a DID names is called.
        """
        self.identity = identity
        self.refused: list[str] = []
        """Why messages were refused, the last hundred."""
        self._http = http
        self._hidden = hidden
        self._unpacker = Unpacker(clock=time.time)
        self._unpacker.add(identity)
        self._incoming: asyncio.Queue[tuple[Received, int]] = asyncio.Queue()
        self._incoming_bytes = 0
        self._live = asyncio.Event()
        self._connections: dict[str, Connection] = {}
        for each in mediations:
            take = partial(self._receive, each.uri)
            made = Connection(each, identity, http, take, self._note_live)
            self._connections[each.uri] = made
        self._elsewhere: Outgoing = asyncio.Queue(MOST_OUTGOING)
        self._outgoing: dict[str, Outgoing] = {
            each.uri: asyncio.Queue(MOST_OUTGOING) for each in mediations
        }

    @property
    def mediation(self) -> Mediation:
        """The mediator that answers questions: the first one that is there."""
        return self._first.mediation

    @property
    def breaks(self) -> int:
        """How often a connection broke."""
        return sum(each.breaks for each in self._connections.values())

    @property
    def _first(self) -> Connection:
        known = list(self._connections.values())
        return next((each for each in known if each.is_live), known[0])

    def _note_live(self) -> None:
        if any(each.is_live for each in self._connections.values()):
            self._live.set()
        else:
            self._live.clear()

    def send(self, to: str, kind: str, body: object, *, thid: str, signed: bool = False) -> None:
        """Send a message to a DID, without waiting; drop it if too many wait to be sent.

        Raises `DidcommError` if it is too large, or if the DID does not say how it is reached.
        """
        document = dids.resolve(to)
        own = self.identity.did
        sent = messages.message(kind, body, now=time.time(), to=to, sender=own, thid=thid)
        packed = messages.pack(sent, document, self.identity, signed=signed)
        for service in document.services[:MOST_PLACES]:
            forwarded = packed_for(document, service, packed)
            if len(forwarded) > MESSAGE_BYTES:
                raise DidcommError(f"a message of {len(forwarded)} bytes is too large to be sent")
            with contextlib.suppress(asyncio.QueueFull):
                waiting = self._outgoing.get(service.uri, self._elsewhere)
                waiting.put_nowait((service, forwarded))

    async def sent_all(self) -> None:
        """Return once nothing waits to be sent."""
        for waiting in (*self._outgoing.values(), self._elsewhere):
            await waiting.join()

    async def receive(self) -> Received:
        """Return the next message that passed every check."""
        received, size = await self._incoming.get()
        self._incoming_bytes -= size
        return received

    async def ask(self, kind: str, body: object) -> Received:
        """Return a mediator's answer; raise `DidcommError` if it refuses or is silent."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._live.wait()
                received = await self._first.ask(kind, body)
        except (TimeoutError, OSError):
            raise DidcommError(f"mediator {self.mediation.uri} does not answer") from None
        if received.message.type == PROBLEM:
            comment = body_of(received.message, Problem).comment
            raise DidcommError(f"mediator {self.mediation.uri} refuses: {printable(comment)}")
        return received

    async def wait_until_live(self, seconds: float = ANSWER_SECONDS) -> None:
        """Return once messages arrive at once; raise `DidcommError` if that takes too long."""
        try:
            async with asyncio.timeout(seconds):
                await self._live.wait()
        except TimeoutError:
            raise DidcommError(
                f"mediator {self.mediation.uri} does not answer; look whether it runs; whoever "
                "invites chooses another one by --mediator"
            ) from None

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Stay connected and send what waits, beside the block."""
        waiting = (*self._outgoing.values(), self._elsewhere)
        staying = [each.stay() for each in self._connections.values()]
        # each by itself: a place that is slow delays no message to another
        async with running([*staying, *map(self._send_each, waiting)]):
            yield

    async def _send_each(self, waiting: Outgoing) -> None:
        while True:
            service, packed = await waiting.get()
            try:
                await self._send(service, packed)
            finally:
                waiting.task_done()

    async def _send(self, service: Service, packed: bytes) -> None:
        """Send a packed message to a service of its recipient, if that can be done."""
        own = self._connections.get(service.uri)
        if not service.uri.startswith(SCHEMES) or (self._hidden and own is None):
            return
        with contextlib.suppress(*UNREACHABLE):
            if own is not None and own.is_open:
                await own.write(packed)
                return
            uri = f"http{service.uri[2:]}" if service.uri.startswith("ws") else service.uri
            headers = {"Content-Type": ENCRYPTED}
            async with self._http.post(uri, data=packed, headers=headers, allow_redirects=False):
                return

    async def unregister(self) -> None:
        """Let the mediators forget this mailbox, with what waits there."""
        await gather_or_cancel([each.unregister() for each in self._connections.values()])

    async def _receive(self, uri: str, data: bytes) -> None:
        try:
            await self._take(self._connections[uri], data)
        except DidcommError as error:
            self._refuse(error)

    async def _take(self, connection: Connection, data: bytes) -> None:
        received = self._unpacker.unpack(data)
        if received.sender != connection.mediation.did:
            self._keep(received, len(data))
        elif received.message.type == f"{PICKUP}/delivery":
            await self._unwrap(connection, received)
        else:
            await connection.hear(received)

    def _keep(self, received: Received, size: int) -> None:
        if self._incoming_bytes + size > INCOMING_BYTES:
            raise DidcommError("too many messages wait to be read")
        self._incoming_bytes += size
        self._incoming.put_nowait((received, size))

    async def _unwrap(self, connection: Connection, delivery: Received) -> None:
        """Take the messages in a delivery, and tell the mediator that they have come."""
        attached = delivery.message.attachments
        mediators = {each.mediation.did for each in self._connections.values()}
        ids = []
        for each in attached if attached is not UNSET else []:
            ids += [each.id] if isinstance(each.id, str) else []
            try:
                received = self._unpacker.unpack(content := each.content)
                if received.sender not in mediators:  # which have nothing to forward to us
                    self._keep(received, len(content))
            except DidcommError as error:
                self._refuse(error)
        await connection.delivered(ids)

    def _refuse(self, error: DidcommError) -> None:
        self.refused = [*self.refused[-99:], str(error)]


def packed_for(document: Document, service: Service, packed: bytes) -> bytes:
    """Return a packed message as a service of its recipient takes it: in forwards."""
    following = document.did
    for key in reversed(service.routing_keys):
        mediator = dids.resolve(key.partition("#")[0])
        packed = messages.forward(packed, following, mediator, time.time())
        following = mediator.did
    return packed


def new_identity(mediations: Sequence[Mediation]) -> Identity:
    """Return a new DID that is reached through these mediators."""
    return Identity.make([each.service for each in mediations])


@asynccontextmanager
async def opened(
    url: str,
    clock: Callable[[], float] = time.time,
    *,
    hidden: bool = False,
    proxy: str = "",
    identity: Callable[[Sequence[Mediation]], Identity] = new_identity,
) -> AsyncIterator[Mailbox]:
    """Open a mailbox at the mediator of ``url``, or at several with spaces between them.

    All is called through ``proxy``, the URL of a SOCKS proxy, if there is one. ``identity``
    returns whose mailbox it is. Raises `DidcommError` if no mediator is there, or if its clock and
    ours differ too much. The mailbox ends with the block.
    """
    timeout = aiohttp.ClientTimeout(total=None, connect=ANSWER_SECONDS, sock_read=ANSWER_SECONDS)
    async with aiohttp.ClientSession(connector=connector(proxy), timeout=timeout) as http:
        mediations = await _find_all(http, url.split(), clock)
        box = Mailbox(identity(mediations), mediations, http, hidden=hidden)
        async with box.going_on():
            await box.wait_until_live()
            try:
                yield box
            finally:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LAST_SECONDS):
                        await box.sent_all()
                        await box.unregister()


async def _find_all(
    http: aiohttp.ClientSession, urls: Sequence[str], clock: Callable[[], float]
) -> list[Mediation]:
    """Return the mediators that are there; raise `DidcommError` if none is."""
    wrong: list[DidcommError] = []

    async def found(url: str) -> Mediation | None:
        try:
            return await find(http, url, clock)
        except DidcommError as error:
            wrong.append(error)
            return None

    there = await gather_or_cancel([found(each) for each in urls])
    known = {each.uri: each for each in there if each is not None}
    if not known:
        raise wrong[0] if wrong else DidcommError("no mediator is named; see `e3 mediator`")
    return list(known.values())


async def find(
    http: aiohttp.ClientSession, url: str, clock: Callable[[], float] = time.time
) -> Mediation:
    """Return the mediator at ``url``, which shows its DID there."""
    where, _, pinned = url.partition("#")
    try:
        async with asyncio.timeout(ANSWER_SECONDS), http.get(where) as answer:
            content = await answer.content.read(PAGE_BYTES)
            _check_clock(answer.headers.get("Date", ""), clock())
        page = msgspec.json.decode(content, type=_Page)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        why = str(error) or "no answer"
        raise DidcommError(
            f"there is no mediator at {printable(where, 200)} ({printable(why, 120)}); start one "
            "by `e3 mediator`; whoever invites chooses another one by --mediator"
        ) from None
    if pinned and pinned != page.did:
        raise DidcommError(f"the mediator at {printable(where, 200)} is another one than expected")
    return Mediation(did=dids.syntax(page.did), uri=_checked(page.body.uri or where))


def _check_clock(date: str, now: float) -> None:
    """Raise `DidcommError` if this machine's time is not about that of an HTTP date."""
    try:
        ahead = now - email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return  # a server need not tell it
    if abs(ahead) > messages.CLOCK_SECONDS:
        raise DidcommError(
            f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} "
            "the mediator's, so messages would be refused; set the wrong one right"
        )


def _checked(uri: str) -> str:
    if not uri.startswith(SCHEMES) or any(character.isspace() for character in uri):
        raise DidcommError(f"a mediator names {printable(uri, 100)} as its place, which is no URL")
    return uri
