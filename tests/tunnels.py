"""Tunnels for tests: parties that know each other, without DIDComm between them."""

import asyncio
import base64
import os
from collections.abc import Mapping, Sequence

from e3.tunnel import Grant, Open, Opened, Peer, Tunnel

SECONDS = 30.0


def address(pid: int) -> str:
    return f"10.77.0.{pid + 1}"


def asked(pid: int, **options: object) -> Open:
    values = {"mode": "userspace", "address": f"{address(pid)}/24", "interface": f"e3t{pid}"}
    return Open(**{"pid": pid, **values, **options})  # type: ignore[arg-type]


async def introduce(
    tunnels: Sequence[Tunnel],
    opened: Sequence[Opened],
    grants: Mapping[tuple[int, int], Grant] | None = None,
) -> str:
    """Tell each party all of the others, tunnel i being that of pid i; return their secret."""
    psk = base64.b64encode(os.urandom(32)).decode()
    async with asyncio.timeout(SECONDS):
        for tunnel in tunnels:
            await tunnel.until(lambda it: it.candidates is not None)
    for pid, tunnel in enumerate(tunnels):
        for other, end in enumerate(opened):
            if other != pid:
                relay = (grants or {}).get((pid, other))
                await tunnel.set_peer(described(other, end, psk, tunnels[other], relay))
    return psk


def described(pid: int, end: Opened, psk: str, tunnel: Tunnel, relay: Grant | None = None) -> Peer:
    """Return what others are told of party ``pid``, whose end is driven by ``tunnel``."""
    candidates = tunnel.candidates
    assert candidates is not None
    return Peer(
        pid=pid,
        address=address(pid),
        public_key=end.public_key,
        psk=psk,
        certificate=end.certificate,
        candidates=candidates.candidates,
        relay=relay,
    )


async def all_up(tunnels: Sequence[Tunnel]) -> None:
    others = len(tunnels) - 1
    async with asyncio.timeout(SECONDS):
        for tunnel in tunnels:
            await tunnel.until(lambda it: len(it.up) == others)
