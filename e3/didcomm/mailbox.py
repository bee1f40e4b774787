"""A party at its mediator: registered there, reached at once, and connected again after a break.

What is sent may be lost, come late or twice, as a mediator may restart or be malicious; protocols
above repeat what was not answered.
"""

import asyncio
import contextlib
import email.utils
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import aiohttp
import msgspec
from msgspec import UNSET, Meta

from e3.didcomm import did as dids
from e3.didcomm import messages
from e3.didcomm.did import Document, Service
from e3.didcomm.envelope import ENCRYPTED, MESSAGE_BYTES
from e3.didcomm.errors import DidcommError
from e3.didcomm.messages import Did, Identity, Received, Unpacker, body_of
from e3.didcomm.protocols import COORDINATE, PICKUP, PROBLEM, Grant, Problem, Status
from e3.remote.tasks import beside
from e3.remote.text import printable

ANSWER_SECONDS = 10.0
HEARTBEAT_SECONDS = 15.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
"""Between attempts to connect again."""

LAST_SECONDS = 2.0
"""For what waits to be sent when a mailbox is closed."""

MOST_OUTGOING = 512
INCOMING_BYTES = 32 << 20
"""Of messages that nobody has asked for yet; further ones are lost until there is room."""

PAGE_BYTES = 65_536
UNREACHABLE = (aiohttp.ClientError, OSError, TimeoutError, UnicodeError)
"""What calling a place that somebody else chose may raise; the last if its host is no name."""

SCHEMES = ("http://", "https://", "ws://", "wss://")


class _Told(msgspec.Struct):
    accept: list[str] = []
    uri: Annotated[str, Meta(max_length=300)] = ""


class _Page(msgspec.Struct, rename={"did": "from"}):
    did: Did
    body: _Told


@dataclass(frozen=True, kw_only=True)
class Mediation:
    """A mediator as parties know it: its DID, and the URI where messages for its parties go."""

    did: str
    uri: str

    @property
    def service(self) -> Service:
        """The service of a DID that is reached through this mediator."""
        return Service(uri=self.uri, routing_keys=(dids.resolve(self.did).agreement[0].id,))


Outgoing = asyncio.Queue[tuple[tuple[Service, ...], bytes]]
"""Messages that wait to be sent, each with the places that take it, the first one first."""


class Mailbox:
    """The messages of one identity; `opened` makes it."""

    def __init__(
        self,
        identity: Identity,
        mediation: Mediation,
        http: aiohttp.ClientSession,
        *,
        hidden: bool = False,
    ) -> None:
        """Take messages for ``identity``, whose DID names the mediation as its service.

        If ``hidden``, all goes by that mediator: another place that a DID names is not called.
        """
        self.identity = identity
        self.mediation = mediation
        self.refused: list[str] = []
        """Why messages were refused, the last hundred."""
        self.breaks = 0
        """How often the connection broke."""
        self._http = http
        self._hidden = hidden
        self._mediator = dids.resolve(mediation.did)
        self._unpacker = Unpacker(clock=time.time)
        self._unpacker.add(identity)
        self._incoming: asyncio.Queue[tuple[Received, int]] = asyncio.Queue()
        self._incoming_bytes = 0
        self._outgoing, self._elsewhere = (Outgoing(MOST_OUTGOING) for _ in range(2))
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._live = asyncio.Event()
        self._delivered = False
        self._asked: dict[str, asyncio.Future[Received]] = {}

    def send(self, to: str, kind: str, body: object, *, thid: str, signed: bool = False) -> None:
        """Send a message to a DID, without waiting; drop it if too many wait to be sent.

        Raises `DidcommError` if it is too large, or if the DID does not say how it is reached.
        """
        document = dids.resolve(to)
        own = self.identity.did
        sent = messages.message(kind, body, now=time.time(), to=to, sender=own, thid=thid)
        packed = messages.pack(sent, document, self.identity, signed=signed)
        forwarded = packed_for(document, packed)
        if len(forwarded) > MESSAGE_BYTES:
            raise DidcommError(f"a message of {len(forwarded)} bytes is too large to be sent")
        here = [each.uri for each in document.services[:1]] == [self.mediation.uri]
        with contextlib.suppress(asyncio.QueueFull):
            (self._outgoing if here else self._elsewhere).put_nowait((document.services, forwarded))

    async def sent_all(self) -> None:
        """Return once nothing waits to be sent."""
        await self._outgoing.join()
        await self._elsewhere.join()

    async def receive(self) -> Received:
        """Return the next message that passed every check."""
        received, size = await self._incoming.get()
        self._incoming_bytes -= size
        return received

    async def ask(self, kind: str, body: object) -> Received:
        """Return the mediator's answer; raise `DidcommError` if it refuses or is silent."""
        sent = self._to_mediator(kind, body)
        answer = asyncio.get_running_loop().create_future()
        self._asked[sent.id] = answer
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._live.wait()
                await self._write(messages.pack(sent, self._mediator, self.identity))
                received: Received = await answer
        except (TimeoutError, OSError):
            raise DidcommError(f"mediator {self.mediation.uri} does not answer") from None
        finally:
            self._asked.pop(sent.id, None)
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

    async def stay_connected(self) -> None:
        """Connect to the mediator, again and again, until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._http.ws_connect(
                    self.mediation.uri, heartbeat=HEARTBEAT_SECONDS, max_msg_size=MESSAGE_BYTES
                ) as socket:
                    self._socket = socket
                    await self._register()
                    pause = FIRST_PAUSE_SECONDS
                    await self._read(socket)
            except UNREACHABLE:
                pass
            finally:
                self._socket = None
                self._live.clear()
            self.breaks += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def keep_sending(self) -> None:
        """Send what waits, until cancelled; places of others may be slow, and delay nobody else."""
        async with asyncio.TaskGroup() as group:
            for waiting in (self._outgoing, self._elsewhere):
                group.create_task(self._send_each(waiting))

    async def _send_each(self, waiting: Outgoing) -> None:
        while True:
            services, packed = await waiting.get()
            try:
                for service in services:
                    if await self._sent(service, packed):
                        break
            finally:
                waiting.task_done()

    async def _sent(self, service: Service, packed: bytes) -> bool:
        """Send a packed message to one of its recipient's services; return whether that worked."""
        here = service.uri == self.mediation.uri
        if not service.uri.startswith(SCHEMES) or (self._hidden and not here):
            return False
        try:
            if here and self._socket is not None:
                await self._write(packed)
                return True
            uri = f"http{service.uri[2:]}" if service.uri.startswith("ws") else service.uri
            headers = {"Content-Type": ENCRYPTED}
            async with self._http.post(
                uri, data=packed, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status < 300  # noqa: PLR2004 - of HTTP
        except UNREACHABLE:
            return False

    async def _write(self, packed: bytes) -> None:
        if self._socket is None:
            raise OSError("not connected")
        await self._socket.send_bytes(packed)

    async def unregister(self) -> None:
        """Let the mediator forget this mailbox, with what waits there."""
        updates = [{"recipient_did": self.identity.did, "action": "remove"}]
        with contextlib.suppress(DidcommError):
            await self.ask(f"{COORDINATE}/recipient-update", {"updates": updates})

    async def _register(self) -> None:
        did = self.identity.did
        updates = {"updates": [{"recipient_did": did, "action": "add"}]}
        for kind, body in (
            (f"{COORDINATE}/mediate-request", {}),
            (f"{COORDINATE}/recipient-update", updates),
            (f"{PICKUP}/live-delivery-change", {"live_delivery": True}),
        ):
            sent = self._to_mediator(kind, body)
            await self._write(messages.pack(sent, self._mediator, self.identity))

    def _to_mediator(self, kind: str, body: object) -> messages.Message:
        did, own = self.mediation.did, self.identity.did
        return messages.message(kind, body, now=time.time(), to=did, sender=own)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for part in socket:
            if part.type not in {aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT}:
                return
            data = part.data if isinstance(part.data, bytes) else part.data.encode()
            try:
                await self._take(data)
            except DidcommError as error:
                self._refuse(error)

    async def _take(self, data: bytes) -> None:
        received = self._unpacker.unpack(data)
        if received.sender != self.mediation.did:
            self._keep(received, len(data))
            return
        kind = received.message.type
        if kind == f"{PICKUP}/delivery":
            await self._unwrap(received)
        elif kind == f"{PICKUP}/status":
            self._live.set()
            await self._stay_live(body_of(received.message, Status))
        elif kind == f"{COORDINATE}/mediate-grant":
            body_of(received.message, Grant)
        thid = received.message.thid
        answer = self._asked.get(thid) if isinstance(thid, str) else None
        if answer is not None and not answer.done():
            answer.set_result(received)

    def _keep(self, received: Received, size: int) -> None:
        if self._incoming_bytes + size > INCOMING_BYTES:
            raise DidcommError("too many messages wait to be read")
        self._incoming_bytes += size
        self._incoming.put_nowait((received, size))

    async def _stay_live(self, status: Status) -> None:
        """Ask again for what waits if the mediator has stopped, as it does for slow readers."""
        if status.live_delivery is not False or not self._delivered:
            return
        self._delivered = False
        await self._tell_mediator(f"{PICKUP}/live-delivery-change", {"live_delivery": True})

    async def _tell_mediator(self, kind: str, body: object) -> None:
        sent = self._to_mediator(kind, body)
        with contextlib.suppress(OSError):
            await self._write(messages.pack(sent, self._mediator, self.identity))

    async def _unwrap(self, delivery: Received) -> None:
        """Take the messages in a delivery, and tell the mediator that they have come."""
        attached = delivery.message.attachments
        ids = []
        for each in attached if attached is not UNSET else []:
            ids += [each.id] if isinstance(each.id, str) else []
            try:
                received = self._unpacker.unpack(content := each.content)
                if received.sender != self.mediation.did:  # which has nothing to forward to us
                    self._keep(received, len(content))
            except DidcommError as error:
                self._refuse(error)
        self._delivered = True
        await self._tell_mediator(f"{PICKUP}/messages-received", {"message_id_list": ids})

    def _refuse(self, error: DidcommError) -> None:
        self.refused = [*self.refused[-99:], str(error)]


def packed_for(document: Document, packed: bytes) -> bytes:
    """Return a packed message as the first service of its recipient takes it: in forwards."""
    following = document.did
    keys = document.services[0].routing_keys if document.services else ()
    for key in reversed(keys):
        mediator = dids.resolve(key.partition("#")[0])
        packed = messages.forward(packed, following, mediator, time.time())
        following = mediator.did
    return packed


@asynccontextmanager
async def opened(
    url: str,
    tls: ssl.SSLContext | None = None,
    clock: Callable[[], float] = time.time,
    *,
    hidden: bool = False,
) -> AsyncIterator[Mailbox]:
    """Open a mailbox for a new DID at the mediator of ``url``; it ends with the block.

    Raises `DidcommError` if there is no mediator, or if its clock and ours differ too much.
    """
    connector = aiohttp.TCPConnector(ssl=tls if tls is not None else True)
    timeout = aiohttp.ClientTimeout(total=None, connect=ANSWER_SECONDS, sock_read=ANSWER_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        mediation = await find(http, url, clock)
        identity = Identity.make([mediation.service])
        box = Mailbox(identity, mediation, http, hidden=hidden)
        async with beside(box.stay_connected()), beside(box.keep_sending()):
            await box.wait_until_live()
            try:
                yield box
            finally:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LAST_SECONDS):
                        await box.sent_all()
                        await box.unregister()


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
