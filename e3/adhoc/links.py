"""The tunnels of one party to its peers, by `e3-tunnel`, for the length of a session."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from e3 import tunnel
from e3.adhoc.ports import device_works, forwarded
from e3.adhoc.room import Room
from e3.didcomm.session.bodies import Candidate, Offer
from e3.didcomm.session.negotiation import Ends
from e3.interfaces import PARTY_PORT, Endpoint

NETWORK = "10.77.0"
"""The parties' addresses are in it, in every session: it exists in the parties' rooms alone."""

INTERFACE = "e3"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How this party may be reached.

    ``stun`` are servers of STUN. With ``relay_only`` no peer learns an address of this machine;
    with ``loopback`` parties on this same machine are reached, too. Messages, and nothing else, go
    by ``proxy``, the URL of a SOCKS proxy such as Tor's.
    """

    stun: tuple[str, ...] = ()
    relay_only: bool = False
    loopback: bool = False
    proxy: str = ""


def address(pid: int) -> str:
    """Return the address of a party."""
    return f"{NETWORK}.{pid + 1}"


def endpoint(pid: int) -> Endpoint:
    """Return where a party listens."""
    return Endpoint(address=address(pid), port=PARTY_PORT + pid)


@dataclass(kw_only=True)
class Links:
    """One party's end of all tunnels."""

    driver: tunnel.Tunnel
    ends: Ends
    has_device: bool = True
    """Whether the room has a TUN device; else programs reach their peers by forwarded ports."""
    _peers: dict[int, tunnel.Peer] = field(default_factory=dict)

    async def connect(self, pid: int, offer: Offer, secret: bytes) -> None:
        """Return once data passes to a peer."""
        self._peers[pid] = tunnel.Peer(
            pid=pid,
            address=address(pid),
            public_key=offer.wireguard,
            psk=base64.b64encode(secret).decode(),
            certificate=offer.fingerprint,
            candidates=_theirs(offer.candidates),
        )
        await self.driver.set_peer(self._peers[pid])
        await self.driver.until(lambda it: pid in it.up)

    async def relay(self, pid: int, grant: tunnel.Grant) -> None:
        """Let a relay carry what has no other way to a peer."""
        await self._change(pid, relay=grant)

    async def move(self, pid: int, candidates: tuple[Candidate, ...]) -> None:
        """Take note of a peer's new addresses."""
        await self._change(pid, candidates=_theirs(candidates))

    async def _change(self, pid: int, **fields: object) -> None:
        if pid in self._peers:
            self._peers[pid] = msgspec.structs.replace(self._peers[pid], **fields)
            await self.driver.set_peer(self._peers[pid])

    async def moved(self) -> tuple[Candidate, ...]:
        """Return this party's addresses, once they are others than before."""
        known = self.ends.candidates
        await self.driver.until(lambda it: _ours(it) not in {known, ()})
        candidates = _ours(self.driver)
        self.ends = Ends(
            fingerprint=self.ends.fingerprint,
            wireguard=self.ends.wireguard,
            candidates=candidates,
        )
        return candidates

    @asynccontextmanager
    async def reaching(self, pid: int, room: Room, parties: int) -> AsyncIterator[None]:
        """Let the program of party ``pid`` reach its peers, all of which are connected."""
        if self.has_device:
            yield
            return
        endpoints = [endpoint(each) for each in range(parties)]
        async with forwarded(self.driver, room, pid, endpoints):
            yield

    @property
    def paths(self) -> dict[int, str]:
        """How each peer is reached now, in words."""
        return {
            pid: f"{path.kind}, {path.rtt_ms:.0f} ms" for pid, path in self.driver.paths.items()
        }


@asynccontextmanager
async def linked(pid: int, room: Room, reach: Reach) -> AsyncIterator[Links]:
    """Open this party's end of the tunnels, in its room; it ends with the block.

    Raises `OverlayError` if that fails.
    """
    has_device = device_works()
    async with tunnel.local() as driver:
        opened = await driver.open(
            tunnel.Open(
                pid=pid,
                mode="namespace" if has_device else "userspace",
                address=f"{address(pid)}/24",
                interface=INTERFACE if has_device else "",
                namespace=room.pid if has_device else 0,
                stun=reach.stun,
                relay_only=reach.relay_only,
                loopback=reach.loopback,
            )
        )
        await driver.until(lambda it: it.candidates is not None)
        ends = Ends(
            fingerprint=opened.certificate, wireguard=opened.public_key, candidates=_ours(driver)
        )
        yield Links(driver=driver, ends=ends, has_device=has_device)


def _ours(driver: tunnel.Tunnel) -> tuple[Candidate, ...]:
    known = driver.candidates.candidates if driver.candidates is not None else ()
    return tuple(Candidate(kind=each.kind, address=each.address) for each in known)


def _theirs(candidates: tuple[Candidate, ...]) -> tuple[tunnel.Candidate, ...]:
    known = candidates[: tunnel.messages.MOST_CANDIDATES]
    return tuple(tunnel.Candidate(kind=each.kind, address=each.address) for each in known)
