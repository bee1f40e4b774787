"""What was seen of a cell from outside: a part of the schema of results (`e3.evaluation.results`).

Observations come after the repetitions of a cell, so that no capture disturbs their figures.
"""

from typing import Annotated, Literal

from msgspec import Meta, field

from e3.evaluation.fields import (
    MOST_ITEMS,
    CellId,
    Count,
    Line,
    Number,
    Part,
    Seconds,
    Sentence,
    Share,
    Time,
    Word,
)
from e3.session.verdicts import Verdict

ObservationKind = Literal["canary", "attack", "session", "idle", "echoes", "bulk", "requests"]
"""What is observed.

``canary``: a session whose messages hold a text that each observer looks for. ``attack``: whoever
has not joined tries to reach a member. ``session``: one of the campaign's programs. The others are
traffic without MPC: none, echoes to each other host, one transfer, and requests of random sizes.
"""

Vantage = Literal["wire", "region-router", "home-router", "neighbour", "third-party"]
"""Who observes.

``wire``: whoever watches the lines between regions. ``region-router`` and ``home-router``: the
first routers on the way of a region's hosts, and of one host behind a NAT. ``neighbour``: another
host of a party's region. ``third-party``: a host of the stack that takes no part in the session; it
may be relay, hub, lighthouse or control server.
"""

Phase = Literal["joining", "before", "during", "after"]
"""When: while a party joins again, then without a session, during one, and after it."""

AttackKind = Literal["outsider", "on-link", "borrowed-address"]
"""``outsider``: a host that never joined connects from its own address. ``on-link``: the same, and
the member's own router delivers its packets, as a neighbour on the same network could by itself; a
host whose kernel takes them at any interface (RFC 1122, 3.3.4.2, weak model) lets it in.
``borrowed-address``: the same from the overlay address of a member."""


class View(Part, frozen=True, kw_only=True):
    """What an observer saw in a phase; ``where`` is its region or host, empty for ``wire``.

    ``canary_packets`` are those that hold the canary in the clear. ``hosts`` are those whose
    underlay addresses it saw, ``overlay_hosts`` those whose overlay addresses it saw, ``names``
    those whose names it could read, and ``pairs`` those that it saw send packets to each other, by
    either kind of address. ``unseen_packets`` came too fast to be looked at.
    """

    vantage: Vantage
    where: Word
    phase: Phase
    packets: Count
    bytes: Count
    unseen_packets: Count
    canary_packets: Count
    hosts: Annotated[list[Word], Meta(max_length=MOST_ITEMS)]
    overlay_hosts: Annotated[list[Word], Meta(max_length=MOST_ITEMS)]
    names: Annotated[list[Word], Meta(max_length=MOST_ITEMS)]
    pairs: Annotated[list[tuple[Word, Word]], Meta(max_length=MOST_ITEMS)]


class Memory(Part, frozen=True, kw_only=True):
    """What the memory of a third party's daemons held during the session.

    Whoever runs that host can read it. ``canary_copies`` is the most that one search found.
    """

    host: Word
    searches: Count
    searched_bytes: Count
    canary_copies: Count
    names: Annotated[list[Word], Meta(max_length=MOST_ITEMS)]


class Attack(Part, frozen=True, kw_only=True):
    """An attempt to reach a member's overlay address, where a listener waited.

    ``opened``: a TCP connection was opened, as the attacker says. ``arrived_datagrams`` of UDP
    reached the listener.
    """

    attack: AttackKind
    target: Word
    opened: bool
    arrived_datagrams: Count


class Traffic(Part, frozen=True, kw_only=True):
    """Sizes and times of packets on the wire between regions, as who watches it can tell them.

    Packets of more than 1,500 bytes, which exist within a host alone, are counted as so many of
    them. ``ends`` are addresses, ``talking_pairs`` ordered pairs of these with at least three
    packets; ``bursts`` are separated by 20 ms of silence. ``size_bytes`` and ``gap_ms`` are the
    quantiles of 10, 25, 50, 75 and 90 percent of sizes and of times between packets. Shares are of
    packets, but ``busiest_share``, that of the busiest ordered pair, of bytes. ``pair_spread`` is
    the standard deviation of bytes over ordered pairs, divided by their mean.
    """

    seconds: Seconds
    packets: Count
    bytes: Count
    ends: Count
    talking_pairs: Count
    mean_bytes: Number
    spread_bytes: Number
    size_bytes: Annotated[list[Number], Meta(min_length=5, max_length=5)]
    gap_ms: Annotated[list[Number], Meta(min_length=5, max_length=5)]
    small_share: Share
    large_share: Share
    bursts: Count
    mean_burst_packets: Number
    busiest_share: Share
    pair_spread: Number


class ObservationRecord(Line, tag="observation", frozen=True, kw_only=True):
    """One observation of a cell, ``number`` counts them.

    ``program`` is that of a ``session``, else empty; ``parties`` of it took part, 0 without a
    session. ``reason`` says what went wrong; empty if nothing did. ``busy_hosts`` is how many hosts
    a line between regions was used by.
    """

    cell: CellId
    number: Count
    setup: Count
    started: Time
    what: ObservationKind
    program: Word = ""
    parties: Count = 0
    verdict: Verdict | None = None
    reason: Sentence = ""
    seconds: Seconds
    views: Annotated[list[View], Meta(max_length=MOST_ITEMS)] = field(default_factory=list)
    memory: Annotated[list[Memory], Meta(max_length=MOST_ITEMS)] = field(default_factory=list)
    attacks: Annotated[list[Attack], Meta(max_length=100)] = field(default_factory=list)
    traffic: Traffic | None = None
