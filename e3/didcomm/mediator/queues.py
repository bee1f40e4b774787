"""What a mediator keeps, and for how long. Pure: its caller gives the time.

Nothing is on a disk: whoever restarts a mediator loses what waits, and parties register again and
repeat what was not acknowledged.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from e3.didcomm.errors import DidcommError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that a mediator keeps and takes.

    A registration ends ``registration_seconds`` after its last use, a message ``message_seconds``
    after it came. ``rate`` and ``rate_bytes`` are a second's messages and bytes of one address; it
    may save up ``burst_seconds`` of them, hold ``connections`` and ``registrations_of_one``, and
    have ``bytes_of_one`` in messages that wait for others.
    """

    registrations: int = 20_000
    registration_seconds: float = 600
    messages: int = 256
    message_bytes: int = 4 << 20
    message_seconds: float = 300
    all_bytes: int = 512 << 20
    rate: float = 100
    rate_bytes: float = 2e6
    burst_seconds: float = 8
    connections: int = 256
    registrations_of_one: int = 1000
    bytes_of_one: int = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A message that waits for its recipient."""

    id: str
    content: bytes
    came: float
    customer: str


@dataclass(kw_only=True)
class Box:
    """One recipient: its messages by id in the order of arrival, and when it was here last."""

    used: float
    customer: str
    waiting: OrderedDict[str, Waiting] = field(default_factory=OrderedDict)
    bytes: int = 0


class Queues:
    """The messages of all recipients."""

    def __init__(self, limits: Limits) -> None:
        """Keep no more than ``limits`` say."""
        self._limits = limits
        self._boxes: dict[str, Box] = {}
        self._bytes = 0
        self._next = 0
        self._registered: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        """Registrations, and bytes that wait, by whose connection they came from."""

    def __len__(self) -> int:
        """Return how many recipients are registered."""
        return len(self._boxes)

    def knows(self, did: str) -> bool:
        """Return whether a DID is registered."""
        return did in self._boxes

    @property
    def kept_bytes(self) -> int:
        """The bytes of all messages that wait."""
        return self._bytes

    def register(self, did: str, now: float, customer: str = "") -> bool:
        """Take messages for a DID from now on; return whether that is new."""
        box = self._boxes.get(did)
        if box is not None:
            box.used = now
            return False
        if len(self._boxes) >= self._limits.registrations:
            raise DidcommError("the mediator has no room for more parties; try again in a minute")
        if self._registered[customer] >= self._limits.registrations_of_one:
            raise DidcommError("the mediator has no room for more parties of your address")
        self._boxes[did] = Box(used=now, customer=customer)
        self._registered[customer] += 1
        return True

    def unregister(self, did: str) -> bool:
        """Drop a DID with the messages that wait for it; return whether it was known."""
        box = self._boxes.pop(did, None)
        if box is None:
            return False
        for each in list(box.waiting):
            self._drop(box, each)
        self._registered[box.customer] -= 1
        if not self._registered[box.customer]:
            del self._registered[box.customer]
        return True

    def use(self, did: str, now: float) -> None:
        """Keep a registration; raise `DidcommError` if there is none."""
        self._box(did).used = now

    def put(self, did: str, content: bytes, now: float, customer: str = "") -> Waiting:
        """Keep a message; raise `DidcommError` if there is no registration or no room."""
        box = self._box(did)
        size = len(content)
        full = len(box.waiting) >= self._limits.messages
        if full or box.bytes + size > self._limits.message_bytes:
            raise DidcommError("too many messages wait for that party")
        if self._bytes + size > self._limits.all_bytes:
            raise DidcommError("too many messages wait at the mediator")
        if self._left[customer] + size > self._limits.bytes_of_one:
            raise DidcommError("too many messages of your address wait at the mediator")
        self._next += 1
        kept = Waiting(id=str(self._next), content=content, came=now, customer=customer)
        self._left[customer] += size
        box.waiting[kept.id] = kept
        box.bytes += size
        self._bytes += size
        return kept

    def waiting(self, did: str, most: int) -> list[Waiting]:
        """Return the oldest messages of a DID."""
        return list(self._box(did).waiting.values())[:most]

    def count(self, did: str) -> int:
        """Return how many messages wait for a DID."""
        return len(self._box(did).waiting)

    def remove(self, did: str, ids: list[str]) -> None:
        """Drop messages that their recipient has; others of the ids are ignored."""
        box = self._box(did)
        for each in ids:
            self._drop(box, each)

    def expire(self, now: float) -> list[str]:
        """Drop what is too old; return the DIDs whose registrations have ended."""
        ended = []
        for did, box in self._boxes.items():
            if now > box.used + self._limits.registration_seconds:
                ended.append(did)
            oldest = now - self._limits.message_seconds
            for each in [one.id for one in box.waiting.values() if one.came < oldest]:
                self._drop(box, each)
        for did in ended:
            self.unregister(did)
        return ended

    def _drop(self, box: Box, name: str) -> None:
        gone = box.waiting.pop(name, None)
        if gone is not None:
            box.bytes -= len(gone.content)
            self._bytes -= len(gone.content)
            self._left[gone.customer] -= len(gone.content)
            if not self._left[gone.customer]:
                del self._left[gone.customer]

    def _box(self, did: str) -> Box:
        box = self._boxes.get(did)
        if box is None:
            raise DidcommError("that DID is not registered at this mediator")
        return box


class Rates:
    """How much each address may send: a bucket of messages and of bytes that refills."""

    def __init__(self, limits: Limits) -> None:
        """Hold addresses to ``limits``."""
        self._limits = limits
        self._left: dict[str, tuple[float, float, float]] = {}

    def allow(self, address: str, size: int, now: float) -> bool:
        """Return whether an address may send a message of this size now; if so, count it."""
        limits = self._limits
        most, most_bytes = (
            each * limits.burst_seconds for each in (limits.rate, limits.rate_bytes)
        )
        left, left_bytes, then = self._left.get(address, (most, most_bytes, now))
        left = min(most, left + (now - then) * limits.rate)
        left_bytes = min(most_bytes, left_bytes + (now - then) * limits.rate_bytes)
        # a message larger than what is left is taken if any is left, and paid for afterwards
        allowed = left >= 1 and left_bytes > 0
        paid = (left - 1, left_bytes - size) if allowed else (left, left_bytes)
        self._left[address] = (*paid, now)
        return allowed

    def forget(self, now: float) -> None:
        """Forget addresses that may send as much as they ever may."""
        idle = self._limits.burst_seconds
        for address in [one for one, (*_, then) in self._left.items() if now > then + 2 * idle]:
            del self._left[address]
