"""An agent's tunnels: what its membership asks for, carried out by `e3-tunnel`."""

import asyncio
import base64
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface

import msgspec

from e3 import tunnel
from e3.adhoc.relayed import grant
from e3.agents.plane import Linking, Reached
from e3.agents.post import Post, has_route, joined
from e3.agents.settings import AgentSettings
from e3.agents.station import Station
from e3.didcomm.network.actions import Connect, Reconnect
from e3.didcomm.network.bodies import Member, Piece
from e3.didcomm.network.invitation import Invitation, MediatorPlace
from e3.didcomm.network.membership import Ends
from e3.didcomm.session.bodies import Candidate
from e3.errors import OverlayError
from e3.remote.tasks import running

OWN = 512
"""This agent's number in its tunnels. The other members have those above and below it: of a pair
the side with the lower number begins, and both sides must agree which one that is."""

RELAY_AFTER_SECONDS = 0.5
"""For a pair to find a path of its own before it asks for a relay."""

RELAY_AGAIN_SECONDS = 3.0
GRANT_SECONDS = 5.0
NEXT_SECONDS = 1.0
"""For a mediator to grant a relay before the next one is asked as well: it may be gone."""

MOST_ASKED = 8
"""Pairs for which a relay is asked for at once: a mediator may serve hundreds."""

OPEN_TRIES, OPEN_SECONDS = 10, 0.2
"""For the interface of an agent that was killed to be gone."""


@dataclass(kw_only=True)
class _Tunnel:
    member: Member
    peer: tunnel.Peer
    secret: bytes
    without: float
    """Since when there is no path."""
    asked: float = 0.0
    """When a relay was asked for last."""


class Carrier:
    """One agent's end of all tunnels."""

    def __init__(self, driver: tunnel.Tunnel, opened: tunnel.Opened) -> None:
        """Drive tunnels that are open on this host."""
        self._driver = driver
        self._candidates = _ours(driver)
        self._ends = Ends(
            wireguard=opened.public_key,
            fingerprint=opened.certificate,
            candidates=self._candidates,
        )
        self._tunnels: dict[str, _Tunnel] = {}
        self._waiting: asyncio.Queue[Linking] = asyncio.Queue()

    @property
    def ends(self) -> Ends:
        """See `Plane`."""
        return self._ends

    def do(self, action: Linking) -> None:
        """See `Plane`."""
        self._waiting.put_nowait(action)

    async def paths(self) -> dict[str, Reached]:
        """See `Plane`."""
        now = time.time()
        ages = {
            each.pid: each.handshake_age_seconds for each in (await self._driver.report()).peers
        }
        return {
            each.member.name: self._reached(
                each.peer.pid,
                # whole seconds: so it is the same at each question
                0 if (age := ages.get(each.peer.pid)) is None else round(now - age),
            )
            for each in self._tunnels.values()
        }

    async def keep(self) -> None:
        """See `Plane`."""
        while True:
            action = await self._waiting.get()
            try:
                await self._carry_out(action)
            except OverlayError as error:  # of what one member has said: the others go on
                sys.stderr.write(f"{action.member.name}: {error}\n")

    async def _carry_out(self, action: Linking) -> None:
        if isinstance(action, Connect):
            await self._connect(action)
        elif isinstance(action, Reconnect):
            await self._change(action.member.did, candidates=_given(action.candidates))
        elif (known := self._tunnels.pop(action.member.did, None)) is not None:
            await self._driver.remove_peer(known.peer.pid)

    async def use(self, mediators: Sequence[MediatorPlace]) -> None:
        """See `Plane`."""
        await self._driver.gather(stun_servers(mediators))

    def take(self, sender: str, piece: Piece) -> None:
        """See `Plane`; here connections go through tunnels."""

    async def moved(self) -> tuple[Candidate, ...]:
        """See `Plane`."""
        await self._driver.until(lambda it: _ours(it) not in {self._candidates, ()})
        self._candidates = _ours(self._driver)
        return self._candidates

    async def tend(self, stations: Sequence[Station]) -> None:
        """Ask for a relay for each pair that finds no path; return once that is done."""
        now = time.monotonic()
        lost = []
        for each in self._tunnels.values():
            if each.peer.pid in self._driver.paths:
                each.without = now
            elif now > each.without + RELAY_AFTER_SECONDS and now > each.asked:
                each.asked = now + RELAY_AGAIN_SECONDS
                lost.append(each)
        places = asyncio.Semaphore(MOST_ASKED)
        async with asyncio.TaskGroup() as group:
            for each in lost:
                group.create_task(self._seek_relay(each, stations, places))

    async def _seek_relay(
        self, one: _Tunnel, stations: Sequence[Station], places: asyncio.Semaphore
    ) -> None:
        """Take the relay of the first mediator that answers: the other side does the same."""
        granted: asyncio.Queue[tunnel.Grant] = asyncio.Queue()

        async def ask(place: int, station: Station) -> None:
            await asyncio.sleep(place * NEXT_SECONDS)
            if (found := await grant(station, one.secret)) is not None:
                granted.put_nowait(found)

        async with places, running([ask(*each) for each in enumerate(stations)]):
            with suppress(TimeoutError):
                async with asyncio.timeout(GRANT_SECONDS):
                    found = await granted.get()
                if one is self._tunnels.get(one.member.did):
                    await self._change(one.member.did, relay=found)

    async def _connect(self, action: Connect) -> None:
        member = action.member
        before = self._tunnels.pop(member.did, None)
        if before is not None:
            # its keys are others: what is left of the old tunnel would only delay the new one
            await self._driver.remove_peer(before.peer.pid)
        peer = tunnel.Peer(
            pid=before.peer.pid if before is not None else self._number(begins=action.begins),
            address=member.address,
            public_key=action.keys.wireguard,
            psk=base64.b64encode(action.secret).decode(),
            certificate=action.keys.fingerprint,
            candidates=_given(action.candidates),
        )
        await self._driver.set_peer(peer)
        self._tunnels[member.did] = _Tunnel(
            member=member, peer=peer, secret=action.secret, without=time.monotonic()
        )

    async def _change(self, did: str, **fields: object) -> None:
        known = self._tunnels.get(did)
        if known is None:
            return
        changed = msgspec.structs.replace(known.peer, **fields)
        if changed != known.peer:
            known.peer = changed
            await self._driver.set_peer(changed)

    def _number(self, *, begins: bool) -> int:
        """Return a free number for a member: above `OWN` if this side of the pair begins."""
        taken = {each.peer.pid for each in self._tunnels.values()}
        span = range(OWN + 1, 2 * OWN) if begins else range(OWN)
        return next(number for number in span if number not in taken)

    def _reached(self, number: int, handshake: int) -> Reached:
        path = self._driver.paths.get(number)
        if path is None or number not in self._driver.up:
            return Reached(path="none")
        if "relay" in path.kind:
            by = path.address.rpartition(":")[0].strip("[]")
            return Reached(path="relayed", by=by, handshake=handshake)
        return Reached(path="direct", handshake=handshake)


def _given(candidates: tuple[Candidate, ...]) -> tuple[tunnel.Candidate, ...]:
    known = candidates[: tunnel.messages.MOST_CANDIDATES]
    return tuple(tunnel.Candidate(kind=each.kind, address=each.address) for each in known)


def _ours(driver: tunnel.Tunnel) -> tuple[Candidate, ...]:
    known = driver.candidates.candidates if driver.candidates is not None else ()
    return tuple(Candidate(kind=each.kind, address=each.address) for each in known)


def stun_servers(mediators: Sequence[MediatorPlace]) -> tuple[str, ...]:
    """Return the servers of STUN to which this host has a route."""
    return tuple(
        joined(each, port)
        for each in mediators
        if any(map(has_route, each.addresses))
        for port in each.stun
    )


@asynccontextmanager
async def carrying(
    told: AgentSettings, invitation: Invitation, post: Post
) -> AsyncIterator[Carrier]:
    """Open this host's end of the tunnels meanwhile."""
    del post  # by which no data goes
    asked = tunnel.Open(
        pid=OWN,
        mode="tun",
        address=str(IPv4Interface(invitation.address)),
        interface=told.interface,
        port=told.port,
        tcp_port=told.port,
        mtu=told.mtu,
        stun=stun_servers(invitation.mediators),
    )
    for tries in range(OPEN_TRIES):
        async with tunnel.local(told.tunnel) as driver:
            try:
                opened = await driver.open(asked)
            except OverlayError:
                if tries + 1 == OPEN_TRIES:
                    raise
            else:
                await driver.until(lambda it: it.candidates is not None)
                yield Carrier(driver, opened)
                return
        await asyncio.sleep(OPEN_SECONDS)
