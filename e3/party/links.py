"""The connections of an agreement, its outcome, and their limits."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from e3.party.fields import Groups
from e3.party.protocol import spare_seconds

RETRY_SECONDS = 0.05
ATTEMPT_SECONDS = 3.0
"""For one attempt to connect; one that takes longer may have begun before its peer listened."""

MESSAGE_SECONDS = 5.0
"""From the first to the last byte of a message."""

MOST_TRIES_A_SECOND = 5000
"""Of all parties together, at those that do not listen yet."""

PROBE_SECONDS = 2.0
"""After so long without a word from a peer the kernel asks whether the connection is alive."""

MOST_PROBES_A_SECOND = 400
"""So of all parties together. A tunnel of WireGuard that is in use makes a new handshake every two
minutes: 44,850 of them leave two processors no time for anything else.
"""

GRACE_SECONDS = 1.0
"""After a difference is found: for more statements, which may differ in more."""

UNDECIDED_SECONDS = 5.0
"""The same, while only they can tell what most parties run.

All parties mostly state it within this time, and the last statement ends it. A machine with much
else to do has taken more than a second.
"""

STRANGERS = 16
"""The most addresses of strangers that are recorded."""

CLOSINGS = 5
"""Closed connections in a row, none with a message: then the peer does not run E3."""

HALF = "sent half a message"
CLOSED = "closed the connection without a word"
NO_ANSWER = "does not answer at its address"

SPARE_LINKS = 16
"""Connections of one address without a statement; beyond that the oldest are closed."""

FLOOD_LINKS = 500
"""Connections of one party without a statement; beyond that the party is blamed for a flood."""

ACCEPTS = 64
"""The most connections that are accepted at once, before anything else is done."""

OFF_SECONDS = 0.3
"""After another party has called it off: for statements that may show why."""

Kind = Literal["agreed", "incompatible", "unreachable", "stopped"]


@dataclass(frozen=True)
class AgreementOutcome:
    """How the agreement ended.

    ``peer`` is the party that caused a failure; ``detail`` says how, in words that follow its name.
    ``by`` is the party that called the agreement off, where this one saw no fault itself: ``peer``
    and ``detail`` are then what that party says. ``found`` are the facts that differ and must not,
    ``noted`` the facts that differ and may.
    """

    kind: Kind
    peer: int | None = None
    detail: str = ""
    found: Mapping[str, Groups] = field(default_factory=dict)
    noted: Mapping[str, Groups] = field(default_factory=dict)
    strangers: Mapping[str, int] = field(default_factory=dict)
    by: int | None = None


class BrokenOffError(Exception):
    """The agreement has failed; has its outcome."""

    def __init__(
        self, kind: Kind, peer: int | None = None, detail: str = "", by: int | None = None
    ) -> None:
        """See `AgreementOutcome`."""
        self.outcome = AgreementOutcome(kind, peer, detail, by=by)


@dataclass(frozen=True)
class Times:
    """Limits of an agreement among so many parties, which may share one machine's processors."""

    retry_seconds: float
    attempt_seconds: float
    message_seconds: float
    probe_seconds: float

    @classmethod
    def of(cls, parties: int) -> Times:
        """Return the limits for a number of parties."""
        spare, pairs = spare_seconds(parties), parties * (parties - 1) / 2
        return cls(
            retry_seconds=max(RETRY_SECONDS, pairs / MOST_TRIES_A_SECOND),
            attempt_seconds=ATTEMPT_SECONDS + spare / 40,
            message_seconds=MESSAGE_SECONDS + spare / 8,
            probe_seconds=max(PROBE_SECONDS, 2 * pairs / MOST_PROBES_A_SECOND),
        )


@dataclass(eq=False)
class PeerConnection:
    """One connection to a peer; ``peer`` is its pid, None until an accepted one has stated it.

    It expires at the time ``until``. With ``stated`` it has brought a statement.
    """

    socket: socket.socket
    address: str
    peer: int | None
    until: float = 0.0
    connecting: bool = False
    stated: bool = False
    incoming: bytearray = field(default_factory=bytearray)
    outgoing: bytearray = field(default_factory=bytearray)
