"""A party's connection to one mediator: registered there, and made again after a break."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from e3.didcomm import did as dids
from e3.didcomm import messages
from e3.didcomm.did import Service
from e3.didcomm.envelope import MESSAGE_BYTES
from e3.didcomm.errors import DidcommError
from e3.didcomm.messages import Identity, Received, body_of
from e3.didcomm.protocols import COORDINATE, PICKUP, Grant, Status

HEARTBEAT_SECONDS = 15.0
CLOSE_SECONDS = 1.0
"""For a mediator to agree that a connection is closed: it may be gone."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
"""Between attempts to connect again."""

UNREACHABLE = (aiohttp.ClientError, OSError, TimeoutError, UnicodeError)
"""What calling a place that somebody else chose may raise; the last if its host is no name."""


@dataclass(frozen=True, kw_only=True)
class Mediation:
    """A mediator as parties know it: its DID, and the URI where messages for its parties go."""

    did: str
    uri: str

    @property
    def service(self) -> Service:
        """The service of a DID that is reached through this mediator."""
        return Service(uri=self.uri, routing_keys=(dids.resolve(self.did).agreement[0].id,))


class Connection:
    """The messages between a party and its mediator."""

    def __init__(
        self,
        mediation: Mediation,
        identity: Identity,
        http: aiohttp.ClientSession,
        take: Callable[[bytes], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        """Give what comes to ``take``, and call ``changed`` when the connection is made or lost."""
        self.mediation = mediation
        self.is_live = False
        """Whether messages arrive at once."""
        self.breaks = 0
        """How often the connection broke."""
        self.heartbeat_seconds = HEARTBEAT_SECONDS
        """After which time without a word the mediator is asked for one."""
        self._identity = identity
        self._http = http
        self._take = take
        self._changed = changed
        self._mediator = dids.resolve(mediation.did)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._delivered = False
        self._asked: dict[str, asyncio.Future[Received]] = {}

    @property
    def is_open(self) -> bool:
        """Whether messages can be written."""
        return self._socket is not None

    async def stay(self) -> None:
        """Connect to the mediator, again and again, until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._http.ws_connect(
                    self.mediation.uri,
                    heartbeat=self.heartbeat_seconds,
                    max_msg_size=MESSAGE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                ) as socket:
                    self._socket = socket
                    await self._register()
                    pause = FIRST_PAUSE_SECONDS
                    await self._read(socket)
            except UNREACHABLE:
                pass
            finally:
                self._socket = None
                self._become(live=False)
            self.breaks += 1
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def write(self, packed: bytes) -> None:
        """Send a packed message; raise `OSError` if there is no connection."""
        if self._socket is None:
            raise OSError("not connected")
        await self._socket.send_bytes(packed)

    async def ask(self, kind: str, body: object) -> Received:
        """Return the mediator's answer; the caller sets the deadline."""
        sent = self._message(kind, body)
        answer = asyncio.get_running_loop().create_future()
        self._asked[sent.id] = answer
        try:
            await self.write(messages.pack(sent, self._mediator, self._identity))
            received: Received = await answer
        finally:
            self._asked.pop(sent.id, None)
        return received

    async def tell(self, kind: str, body: object) -> None:
        """Send the mediator a message; do nothing without a connection."""
        sent = self._message(kind, body)
        with contextlib.suppress(OSError):
            await self.write(messages.pack(sent, self._mediator, self._identity))

    async def hear(self, received: Received) -> None:
        """Take a message of the mediator itself."""
        kind = received.message.type
        if kind == f"{PICKUP}/status":
            self._become(live=True)
            await self._stay_live(body_of(received.message, Status))
        elif kind == f"{COORDINATE}/mediate-grant":
            body_of(received.message, Grant)
        thid = received.message.thid
        answer = self._asked.get(thid) if isinstance(thid, str) else None
        if answer is not None and not answer.done():
            answer.set_result(received)

    async def delivered(self, ids: list[str]) -> None:
        """Tell the mediator that these messages have come."""
        self._delivered = True
        await self.tell(f"{PICKUP}/messages-received", {"message_id_list": ids})

    async def _stay_live(self, status: Status) -> None:
        """Ask again for what waits if the mediator has stopped, as it does for slow readers."""
        if status.live_delivery is not False or not self._delivered:
            return
        self._delivered = False
        await self.tell(f"{PICKUP}/live-delivery-change", {"live_delivery": True})

    async def _register(self) -> None:
        updates = {"updates": [{"recipient_did": self._identity.did, "action": "add"}]}
        for kind, body in (
            (f"{COORDINATE}/mediate-request", {}),
            (f"{COORDINATE}/recipient-update", updates),
            (f"{PICKUP}/live-delivery-change", {"live_delivery": True}),
        ):
            sent = self._message(kind, body)
            await self.write(messages.pack(sent, self._mediator, self._identity))

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for part in socket:
            if part.type not in {aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT}:
                return
            data = part.data if isinstance(part.data, bytes) else part.data.encode()
            await self._take(data)

    def _message(self, kind: str, body: object) -> messages.Message:
        did, own = self.mediation.did, self._identity.did
        return messages.message(kind, body, now=time.time(), to=did, sender=own)

    def _become(self, *, live: bool) -> None:
        if self.is_live != live:
            self.is_live = live
            self._changed()

    async def unregister(self) -> None:
        """Let the mediator forget this party, with what waits there."""
        updates = [{"recipient_did": self._identity.did, "action": "remove"}]
        if self.is_live:
            with contextlib.suppress(OSError, DidcommError):
                await self.ask(f"{COORDINATE}/recipient-update", {"updates": updates})
