"""An agent at one mediator: what it sends there, and what comes from there."""

import asyncio
import contextlib
import time

import aiohttp
from msgspec import UNSET

from e3.didcomm import did as dids
from e3.didcomm import messages
from e3.didcomm.connection import Connection, Mediation
from e3.didcomm.envelope import MESSAGE_BYTES
from e3.didcomm.errors import DidcommError
from e3.didcomm.messages import Identity, Received, Unpacker, body_of
from e3.didcomm.protocols import PICKUP, PROBLEM, Problem
from e3.remote.tasks import beside
from e3.remote.text import printable

HEARTBEAT_SECONDS = 4.0
"""Of a connection to a mediator: a session waits 20 s for a peer, and messages heal its path."""

ANSWER_SECONDS = 5.0
MOST_OUTGOING = 512


class Station:
    """Members are registered at all mediators of their network; DIDs need not name a place."""

    def __init__(
        self,
        identity: Identity,
        mediation: Mediation,
        http: aiohttp.ClientSession,
        incoming: asyncio.Queue[Received],
    ) -> None:
        """Take messages for ``identity`` at that mediator, and put them into ``incoming``."""
        self.mediation = mediation
        self._identity = identity
        self._mediator = dids.resolve(mediation.did)
        self._incoming = incoming
        self._connection = Connection(mediation, identity, http, self._take, lambda: None)
        self._connection.heartbeat_seconds = HEARTBEAT_SECONDS
        self._unpacker = Unpacker(clock=time.time)
        self._unpacker.add(identity)
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue(MOST_OUTGOING)
        self._again = asyncio.Event()

    @property
    def is_live(self) -> bool:
        """Whether messages arrive at once."""
        return self._connection.is_live

    def send(self, to: str, kind: str, body: object, *, thid: str) -> None:
        """Send a message to a member, without waiting; drop it if too many wait to be sent.

        Raises `DidcommError` if it is too large, or if the DID is none.
        """
        document, own, now = dids.resolve(to), self._identity, time.time()
        sent = messages.message(kind, body, now=now, to=to, sender=own.did, thid=thid)
        packed = messages.pack(sent, document, own)
        forwarded = messages.forward(packed, to, self._mediator, now)
        if len(forwarded) > MESSAGE_BYTES:
            raise DidcommError(f"a message of {len(forwarded)} bytes is too large to be sent")
        with contextlib.suppress(asyncio.QueueFull):
            self._outgoing.put_nowait(forwarded)

    async def sent_all(self) -> None:
        """Return once nothing waits to be sent."""
        await self._outgoing.join()

    async def ask(self, kind: str, body: object) -> Received:
        """Return the mediator's answer; raise `DidcommError` if it refuses or is silent."""
        where = self.mediation.uri
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                received = await self._connection.ask(kind, body)
        except (TimeoutError, OSError):
            raise DidcommError(f"mediator {where} does not answer") from None
        if received.message.type == PROBLEM:
            comment = body_of(received.message, Problem).comment
            raise DidcommError(f"mediator {where} refuses: {printable(comment)}")
        return received

    def call_again(self) -> None:
        """Make the connection anew: one from an address that is gone would wait in vain."""
        self._again.set()

    async def serve(self) -> None:
        """Stay connected, and send what waits, until cancelled."""
        async with beside(self._send_each()):
            while True:
                self._again.clear()
                async with beside(self._connection.stay()):
                    await self._again.wait()

    async def _send_each(self) -> None:
        while True:
            packed = await self._outgoing.get()
            with contextlib.suppress(OSError):  # it is lost, as in any network
                await self._connection.write(packed)
            self._outgoing.task_done()

    async def _take(self, data: bytes) -> None:
        with contextlib.suppress(DidcommError):
            received = self._unpacker.unpack(data)
            if received.sender != self.mediation.did:
                await self._incoming.put(received)
            elif received.message.type == f"{PICKUP}/delivery":
                await self._unwrap(received)
            else:
                await self._connection.hear(received)

    async def _unwrap(self, delivery: Received) -> None:
        """Take the messages in a delivery, and tell the mediator that they have come."""
        attached = delivery.message.attachments
        ids = []
        for each in attached if attached is not UNSET else []:
            ids += [each.id] if isinstance(each.id, str) else []
            with contextlib.suppress(DidcommError):
                received = self._unpacker.unpack(each.content)
                if received.sender != self.mediation.did:  # which has nothing to forward to us
                    await self._incoming.put(received)
        await self._connection.delivered(ids)
