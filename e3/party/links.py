"""What an agreement is made of: connections, what came of them, and their limits."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from e3.party.fields import Groups

RETRY_SECONDS = 0.05
ATTEMPT_SECONDS = 3.0
"""For one attempt to connect: what waits longer may have dialled before its peer was there."""

MESSAGE_SECONDS = 5.0
"""From the first to the last byte of a message."""

GRACE_SECONDS = 1.0
"""Once a difference is found: for the statements that would show what most parties run."""

STRANGERS = 16
"""Addresses of strangers that are noted."""

CLOSINGS = 5
"""In a row, each before a word: then the peer is no E3."""

HALF = "sent half a message"
CLOSED = "closed the connection without a word"
NO_ANSWER = "does not answer at its address"

SPARE_LINKS = 16
"""Connections of one address that have stated nothing yet; of more the oldest are dropped."""

FLOOD_LINKS = 500
"""Connections from one party's address on which nothing was stated: then it floods its peers."""

ACCEPTS = 64
"""Connections that are accepted at once, before anything else is looked at."""

OFF_SECONDS = 0.3
"""Once another party has called it off: for the statements that show why, if they do."""

Kind = Literal["agreed", "incompatible", "unreachable", "stopped"]


@dataclass(frozen=True)
class AgreementOutcome:
    """How the agreement ended.

    ``peer`` and ``detail`` say who broke it off and how, in words that go on from its name.
    ``by`` is the party that has called it off, where this one saw nothing amiss itself: ``peer``
    and ``detail`` are then that party's word. ``found`` are the facts that differ and must not,
    ``noted`` those that may.
    """

    kind: Kind
    peer: int | None = None
    detail: str = ""
    found: Mapping[str, Groups] = field(default_factory=dict)
    noted: Mapping[str, Groups] = field(default_factory=dict)
    strangers: Mapping[str, int] = field(default_factory=dict)
    by: int | None = None


class BrokenOffError(Exception):
    """The agreement has failed; carries its outcome."""

    def __init__(
        self, kind: Kind, peer: int | None = None, detail: str = "", by: int | None = None
    ) -> None:
        """See `AgreementOutcome`."""
        self.outcome = AgreementOutcome(kind, peer, detail, by=by)


@dataclass(eq=False)
class PeerConnection:
    """One connection; ``peer`` is known for those that this party dialled."""

    socket: socket.socket
    address: str
    peer: int | None
    until: float
    connecting: bool = False
    incoming: bytearray = field(default_factory=bytearray)
    outgoing: bytearray = field(default_factory=bytearray)
