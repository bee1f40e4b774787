"""Answers what parties send to a mediator: registrations, forwarded messages, pickup.

A DID can be registered by its owner alone, and only its owner gets its messages: what a party
asks for is about the DID whose key encrypted the question.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from e3.didcomm import did as dids
from e3.didcomm import messages
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url
from e3.didcomm.mediator.queues import Limits, Queues, Waiting
from e3.didcomm.messages import (
    FORWARD,
    Attachment,
    AttachmentData,
    Identity,
    Received,
    Unpacker,
    body_of,
)
from e3.didcomm.protocols import (
    COORDINATE,
    PICKUP,
    PING,
    PROBLEM,
    DeliveryRequest,
    Forward,
    LiveDelivery,
    ReceivedIds,
    Updated,
    Updates,
)

AT_ONCE = 32
"""The most messages in one delivery."""


class Link(Protocol):
    """A connection of a party, which stays open or takes one answer."""

    def send(self, data: bytes) -> bool:
        """Send a message without waiting; return False if the party does not read fast enough."""

    @property
    def stays(self) -> bool:
        """Whether messages can be delivered later, too."""

    @property
    def customer(self) -> str:
        """Whose connection it is: what one of them registers and leaves here is limited."""


Reply = Callable[[str, Any], None]
"""Sends the type and body of an answer, at once or later."""

Extra = Callable[[Received, Reply], bool]
"""Takes messages of other protocols; returns False for those that it does not know."""


class Mediator:
    """What a mediator does, without the network."""

    def __init__(
        self,
        identity: Identity,
        limits: Limits,
        extra: Extra | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Mediate as ``identity``; ``extra`` answers messages of other protocols."""
        self.identity = identity
        self.queues = Queues(limits)
        self.refused = 0
        """How many messages were refused so far."""
        self._extra = extra
        self._clock = clock
        self._unpacker = Unpacker(clock=clock)
        self._unpacker.add(identity)
        self._live: dict[str, Link] = {}
        self._answers = {
            f"{COORDINATE}/mediate-request": self._grant,
            f"{COORDINATE}/recipient-update": self._update,
            f"{COORDINATE}/recipient-query": self._list,
            f"{PICKUP}/status-request": self._status,
            f"{PICKUP}/delivery-request": self._deliver,
            f"{PICKUP}/messages-received": self._removed,
            f"{PICKUP}/live-delivery-change": self._change_delivery,
            f"{PING}/ping": self._ping,
        }

    def take(self, data: bytes, link: Link) -> None:
        """Take a message from a connection; answer on it. Raises `DidcommError` if refused."""
        try:
            received = self._unpacker.unpack(data)
            if received.message.type == FORWARD:
                self._forward(received, link.customer)
                return
        except DidcommError:
            self.refused += 1
            raise
        if received.sender is None:
            self.refused += 1
            raise DidcommError("only a forwarded message may be anonymous")
        try:
            self._answer(received, received.sender, link)
        except DidcommError as error:
            self.refused += 1
            problem = {"code": "e.p.req", "comment": str(error)[:400]}
            self._reply(received, received.sender, link, PROBLEM, problem)

    def leave(self, link: Link) -> None:
        """Deliver nothing more on a connection that has ended."""
        for did in [did for did, live in self._live.items() if live is link]:
            del self._live[did]

    def tidy(self) -> None:
        """Drop what is too old; keep the registrations of those who are connected."""
        now = self._clock()
        for did in self._live:
            self.queues.use(did, now)
        self.queues.expire(now)

    def _answer(self, received: Received, sender: str, link: Link) -> None:
        act = self._answers.get(received.message.type)
        if act is not None:
            act(received, sender, link)
            return

        def reply(kind: str, body: Any) -> None:  # noqa: ANN401 - a body of any type
            self._reply(received, sender, link, kind, body)

        if self._extra is None or not self._extra(received, reply):
            raise DidcommError("the mediator does not know that type of message")

    def _forward(self, received: Received, customer: str) -> None:
        to = dids.syntax(body_of(received.message, Forward).next.partition("#")[0])
        attached = received.message.attachments
        if attached is UNSET:
            raise DidcommError("a forwarded message has no attachment")
        now = self._clock()
        kept = [self.queues.put(to, each.content, now, customer) for each in attached]
        link = self._live.get(to)
        if link is not None:
            self._send_waiting(to, link, kept)

    def _grant(self, received: Received, sender: str, link: Link) -> None:
        self.queues.register(sender, self._clock(), link.customer)
        body = {"routing_did": [self.identity.did]}
        self._reply(received, sender, link, f"{COORDINATE}/mediate-grant", body)

    def _update(self, received: Received, sender: str, link: Link) -> None:
        updated = []
        for each in body_of(received.message, Updates).updates:
            if each.recipient_did != sender:
                result = "client_error"  # whoever registers another's DID would get its messages
            elif each.action == "add":
                new = self.queues.register(sender, self._clock(), link.customer)
                result = "success" if new else "no_change"
            else:
                result = "success" if self.queues.unregister(sender) else "no_change"
                self._live.pop(sender, None)
            updated.append(
                Updated(recipient_did=each.recipient_did, action=each.action, result=result)  # type: ignore[arg-type]
            )
        kind = f"{COORDINATE}/recipient-update-response"
        self._reply(received, sender, link, kind, {"updated": updated})

    def _list(self, received: Received, sender: str, link: Link) -> None:
        self.queues.use(sender, self._clock())
        body = {"dids": [{"recipient_did": sender}]}
        self._reply(received, sender, link, f"{COORDINATE}/recipient", body)

    def _status(self, received: Received, sender: str, link: Link) -> None:
        self.queues.use(sender, self._clock())
        body = {
            "message_count": self.queues.count(sender),
            "live_delivery": self._live.get(sender) is link,
        }
        self._reply(received, sender, link, f"{PICKUP}/status", body)

    def _deliver(self, received: Received, sender: str, link: Link) -> None:
        asked = body_of(received.message, DeliveryRequest)
        self.queues.use(sender, self._clock())
        waiting = self.queues.waiting(sender, min(asked.limit, AT_ONCE))
        if waiting:
            self._send_waiting(sender, link, waiting, thid=received.message.id)
        else:
            self._status(received, sender, link)

    def _removed(self, received: Received, sender: str, link: Link) -> None:
        self.queues.use(sender, self._clock())
        self.queues.remove(sender, body_of(received.message, ReceivedIds).message_id_list)
        self._status(received, sender, link)

    def _change_delivery(self, received: Received, sender: str, link: Link) -> None:
        live = body_of(received.message, LiveDelivery).live_delivery
        self.queues.use(sender, self._clock())
        if live and not link.stays:
            raise DidcommError("this connection takes one answer; use WebSocket")
        if live:
            self._live[sender] = link
        else:
            self._live.pop(sender, None)
        self._status(received, sender, link)
        if live and (waiting := self.queues.waiting(sender, AT_ONCE)):
            self._send_waiting(sender, link, waiting)

    def _ping(self, received: Received, sender: str, link: Link) -> None:
        self._reply(received, sender, link, f"{PING}/ping-response", {})

    def _send_waiting(self, to: str, link: Link, waiting: list[Waiting], thid: str = "") -> None:
        attached = [
            Attachment(id=each.id, data=AttachmentData(base64=base64url(each.content)))
            for each in waiting
        ]
        more = {"thid": thid} if thid else {}
        body = {"recipient_did": to}
        sent = self._message(f"{PICKUP}/delivery", body, to, attachments=attached, **more)
        if not self._send(sent, to, link):
            self._live.pop(to, None)  # what waits is asked for when it has read the rest

    def _reply(self, received: Received, to: str, link: Link, kind: str, body: object) -> None:
        self._send(self._message(kind, body, to, thid=received.message.id), to, link)

    def _message(self, kind: str, body: object, to: str, **more: Any) -> messages.Message:  # noqa: ANN401 - members of a message
        own = self.identity.did
        return messages.message(kind, body, now=self._clock(), to=to, sender=own, **more)

    def _send(self, sent: messages.Message, to: str, link: Link) -> bool:
        return link.send(messages.pack(sent, dids.resolve(to), self.identity))


def invitation(identity: Identity, uri: str) -> bytes:
    """Return what a mediator shows whoever asks for its page: its DID, and where it is called."""
    return msgspec.json.encode(
        {
            "type": "https://didcomm.org/out-of-band/2.0/invitation",
            "id": "mediator",
            "from": identity.did,
            "body": {"goal_code": "request-mediate", "accept": ["didcomm/v2"], "uri": uri},
        }
    )
