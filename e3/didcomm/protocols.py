"""The protocols of DIDComm that E3 speaks with a mediator: their message types and bodies.

Coordinate mediation 3.0, message pickup 3.0, routing 2.0, trust ping 2.0 and problem reports 2.0.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from e3.didcomm.messages import Did, Id

COORDINATE = "https://didcomm.org/coordinate-mediation/3.0"
PICKUP = "https://didcomm.org/messagepickup/3.0"
PING = "https://didcomm.org/trust-ping/2.0"
PROBLEM = "https://didcomm.org/report-problem/2.0/problem-report"

MOST_UPDATES = 16
MOST_IDS = 512

Text = Annotated[str, Meta(max_length=500)]


class Forward(Struct):
    """Pass the attachment on to ``next``, a DID or the id of one of its keys."""

    next: Annotated[str, Meta(max_length=8192)]


class Grant(Struct):
    """The mediator takes messages; ``routing_did`` is the DID to encrypt them to."""

    routing_did: Annotated[list[Did], Meta(min_length=1, max_length=4)]


class Update(Struct):
    """Add or remove a recipient."""

    recipient_did: Did
    action: Literal["add", "remove"]


class Updates(Struct):
    """The body of ``recipient-update``."""

    updates: Annotated[list[Update], Meta(max_length=MOST_UPDATES)]


class Updated(Struct):
    """How one update went."""

    recipient_did: Did
    action: Literal["add", "remove"]
    result: Literal["success", "no_change", "client_error", "server_error"]


class UpdateResponse(Struct):
    """The body of ``recipient-update-response``."""

    updated: Annotated[list[Updated], Meta(max_length=MOST_UPDATES)]


class LiveDelivery(Struct):
    """Whether messages are to be delivered at once."""

    live_delivery: bool


class Status(Struct):
    """Whether messages are delivered at once; None if the mediator does not say."""

    live_delivery: bool | None = None


class DeliveryRequest(Struct):
    """Ask for messages that wait, at most ``limit``."""

    limit: Annotated[int, Meta(ge=1)] = 10
    recipient_did: Did | None = None


class ReceivedIds(Struct):
    """Messages that their recipient has."""

    message_id_list: Annotated[list[Id], Meta(max_length=MOST_IDS)]


class Problem(Struct):
    """A problem report: ``code`` is for programs, ``comment`` for people."""

    code: Annotated[str, Meta(max_length=200)]
    comment: Text = ""
    args: Annotated[list[Text], Meta(max_length=8)] = []
