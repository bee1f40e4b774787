"""The mediator's side of e3-relay 1.0: grants to pairs, carried out by `e3-tunnel relay`.

What is remembered of a pair is which DID has which of its two tokens, until the grant ends.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from e3.adhoc.relay_protocol import (
    GRANT,
    REQUEST,
    SERVERS,
    SERVERS_ARE,
    Granted,
    Request,
    Servers,
)
from e3.didcomm.errors import DidcommError
from e3.didcomm.mediator.mediator import Reply
from e3.didcomm.messages import Received, body_of
from e3.didcomm.protocols import PROBLEM
from e3.errors import OverlayError
from e3.remote.tasks import beside
from e3.tunnel.control import PROGRAM
from e3.tunnel.relay import Relay, local_relay, token
from e3.tunnel.relay_messages import RelayGrant, RelayOpen, RelayOpened


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What a pair may use of a relay, and how many pairs there may be."""

    bytes: int = 2_000_000_000
    bytes_per_second: int = 2_500_000
    seconds: int = 3600
    pairs: int = 2000
    pairs_of_one: int = 32


@dataclass
class _Pair:
    tokens: tuple[str, str]
    dids: list[str]
    ends: float
    made: bool = False


class Relays:
    """Grants; a task beside it carries them out."""

    def __init__(self, relay: Relay, opened: RelayOpened, quota: Quota) -> None:
        """Grant the use of ``relay``, which listens as ``opened`` says."""
        self._relay = relay
        self._opened = opened
        self._quota = quota
        self._pairs: dict[str, _Pair] = {}
        self._todo: asyncio.Queue[tuple[_Pair, int, Reply]] = asyncio.Queue()

    def take(self, received: Received, reply: Reply) -> bool:
        """Answer a message, an `e3.didcomm.mediator.mediator.Extra`."""
        if received.message.type == SERVERS:
            reply(SERVERS_ARE, Servers(stun=list(self._opened.udp)))
            return True
        if received.message.type != REQUEST or received.sender is None:
            return False
        pair = self._pair(body_of(received.message, Request).pair, received.sender)
        self._todo.put_nowait((pair, pair.dids.index(received.sender), reply))
        return True

    async def grant(self) -> None:
        """Carry out for ever what was asked for."""
        while True:
            pair, side, reply = await self._todo.get()
            with contextlib.suppress(DidcommError):  # whoever asked cannot be answered
                try:
                    await self._make(pair)
                except OverlayError as error:
                    reply(PROBLEM, {"code": "e.p.req", "comment": f"no relay: {error}"[:400]})
                else:
                    reply(GRANT, self._granted(pair, side))

    def _granted(self, pair: _Pair, side: int) -> Granted:
        return Granted(
            token=pair.tokens[side],
            udp=self._opened.udp[0],
            tcp=self._opened.tcp or 0,
            bytes=self._quota.bytes,
            seconds=max(int(pair.ends - time.monotonic()), 1),
        )

    async def _make(self, pair: _Pair) -> None:
        if pair.made:
            return
        grant = RelayGrant(
            tokens=pair.tokens,
            bytes=self._quota.bytes,
            seconds=self._quota.seconds,
            bytes_per_second=self._quota.bytes_per_second,
        )
        await self._relay.grant(grant)
        pair.made = True

    def _pair(self, name: str, did: str) -> _Pair:
        """Return a pair with ``did`` as one of its two sides."""
        now = time.monotonic()
        for old in [key for key, pair in self._pairs.items() if now > pair.ends]:
            del self._pairs[old]
        pair = self._pairs.get(name)
        if pair is not None and did in pair.dids:
            return pair
        if sum(did in each.dids for each in self._pairs.values()) >= self._quota.pairs_of_one:
            raise DidcommError("this party has too many relay grants")
        if pair is None:
            if len(self._pairs) >= self._quota.pairs:
                raise DidcommError("the relay has no room for more pairs")
            ends = now + self._quota.seconds
            pair = self._pairs[name] = _Pair((token(), token()), [], ends)
        if len(pair.dids) > 1:
            raise DidcommError("both sides of that pair have their grants")
        pair.dids.append(did)
        return pair


@asynccontextmanager
async def relaying(
    udp: tuple[int, ...], tcp: int, quota: Quota, program: str = PROGRAM
) -> AsyncIterator[Relays]:
    """Run a relay and servers of STUN at these ports; raise `OverlayError` if that fails."""
    async with local_relay(program) as relay:
        opened = await relay.open(RelayOpen(udp=udp, tcp=tcp))
        relays = Relays(relay, opened, quota)
        async with beside(relays.grant()):
            yield relays
