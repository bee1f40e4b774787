"""The convener's part: it gives seats to those who were invited, and tells all who is in. Pure.

The seats are given to it; each has a token that follows from a secret of the convener. Whoever
shows the token first has the seat, for as long as it exists.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from e3.didcomm.keys import base64url
from e3.didcomm.messages import Did
from e3.didcomm.network.actions import Action, Keep, Send
from e3.didcomm.network.bodies import (
    MOST_MEMBERS,
    Address,
    HostName,
    Join,
    Member,
    Number,
    Refused,
    Roster,
)
from e3.didcomm.session.bodies import Hash

REPEAT_SECONDS = 1.0
WAIT_SECONDS = 5.0
"""For further agents, after one has come and before those that are there begin without them."""

TOKEN_BYTES = 16


class Seat(Struct, frozen=True, kw_only=True):
    """A place in the network. ``serial`` tells it from the seat of an earlier host of that name."""

    name: HostName
    address: Address
    serial: Hash
    public: bool = False


Seats = Annotated[tuple[Seat, ...], Meta(max_length=MOST_MEMBERS)]


class Given(Struct, frozen=True, kw_only=True):
    """What a convener stores: who has which seat, by serial, and the last roster."""

    dids: dict[Hash, Did] = {}
    epoch: Number = 0
    members: tuple[Member, ...] = ()


def token(secret: bytes, seat: Seat) -> str:
    """Return the token of a seat."""
    text = f"{seat.name}|{seat.address}|{seat.serial}".encode()
    return base64url(hmac.digest(secret, text, hashlib.sha256)[:TOKEN_BYTES])


class Convener:
    """Who is in, and who has heard of it."""

    def __init__(self, network: str, secret: bytes, seats: Sequence[Seat], given: Given) -> None:
        """Convene ``network``; ``given`` was stored in an earlier run."""
        self._network = network
        self._secret = secret
        self._seats: tuple[Seat, ...] = ()
        self._given = given
        self._heard: set[str] = set()
        self._came = 0.0
        self._next = 0.0
        self.change(seats, 0.0)

    @property
    def given(self) -> Given:
        """What is to be stored."""
        return self._given

    @property
    def missing(self) -> list[str]:
        """The names of the seats that nobody has taken yet."""
        return [seat.name for seat in self._seats if seat.serial not in self._given.dids]

    def change(self, seats: Sequence[Seat], now: float) -> list[Action]:
        """Return what follows when there are other seats."""
        self._seats = tuple(seats)
        serials = {seat.serial for seat in seats}
        dids = {serial: did for serial, did in self._given.dids.items() if serial in serials}
        self._give(dids=dids)
        return self._complete(now)

    def received(self, sender: str, join: Join, now: float) -> list[Action]:
        """Return what follows from an agent's question for a seat."""
        seat = next((each for each in self._seats if each.name == join.name), None)
        if seat is None or not hmac.compare_digest(token(self._secret, seat), join.token):
            return [Send(to=sender, body=Refused(why="there is no seat with that token"))]
        holder = self._given.dids.get(seat.serial)
        if holder is None and sender in self._given.dids.values():
            return [Send(to=sender, body=Refused(why="that agent has another seat"))]
        if holder not in {None, sender}:
            return [Send(to=sender, body=Refused(why="another agent has that seat"))]
        if holder is None:
            self._give(dids={**self._given.dids, seat.serial: sender})
            self._came = now
            return [Keep(), *self._complete(now)]
        self._heard.discard(sender)  # it has come again, or not heard of the roster
        return [Send(to=sender, body=self._roster)] if sender in self._members else []

    def has(self, did: str, roster: str) -> None:
        """Take note that an agent has the roster of that hash."""
        if roster == self._roster.hash:
            self._heard.add(did)

    def tick(self, now: float) -> list[Action]:
        """Return what is due: the roster once more, or one without those who do not come."""
        if now < self._next:
            return []
        self._next = now + REPEAT_SECONDS
        actions = self._complete(now)
        if actions or not self._given.members:
            return actions
        roster = self._roster
        late = [did for did in self._members if did not in self._heard]
        return [Send(to=did, body=roster, again=True) for did in late]

    @property
    def _members(self) -> list[str]:
        return [each.did for each in self._given.members]

    @property
    def _roster(self) -> Roster:
        return Roster(network=self._network, epoch=self._given.epoch, members=self._given.members)

    def _complete(self, now: float) -> list[Action]:
        """Return the roster to all if it is another one, and nobody is to be waited for."""
        members = tuple(
            Member(name=seat.name, did=did, address=seat.address, public=seat.public)
            for seat in sorted(self._seats, key=lambda seat: seat.name)
            if (did := self._given.dids.get(seat.serial)) is not None
        )
        if members == self._given.members or not members:
            return []
        if self.missing and now < self._came + WAIT_SECONDS and not self._leaving(members):
            return []
        self._give(epoch=max(self._given.epoch + 1, int(now)), members=members)
        self._heard.clear()
        self._next = now + REPEAT_SECONDS
        roster = self._roster
        return [Keep(), *(Send(to=did, body=roster) for did in self._members)]

    def _leaving(self, members: Sequence[Member]) -> bool:
        """Return whether somebody has lost a seat, which all must hear at once."""
        return not {each.did for each in self._given.members} <= {each.did for each in members}

    def _give(self, **changed: object) -> None:
        given = self._given
        values = {"dids": given.dids, "epoch": given.epoch, "members": given.members, **changed}
        self._given = Given(**values)  # type: ignore[arg-type]
