"""Drive `e3-tunnel relay`, which a mediator runs: STUN, and traffic of the pairs it has granted."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from e3.tunnel.control import PROGRAM, Conversation, Running, reading, started
from e3.tunnel.messages import Done, Refused
from e3.tunnel.relay_messages import RelayGrant, RelayOpen, RelayOpened, RelayReport

DECODER = msgspec.json.Decoder(RelayOpened | Done | Refused | RelayReport)
TOKEN_BYTES = 16


@dataclass
class Relay:
    """A running relay. Every verb raises `OverlayError` if it is refused or the program ended."""

    _program: Conversation

    async def open(self, asked: RelayOpen) -> RelayOpened:
        """Listen; the first verb, once."""
        return await self._program.ask("open", asked, RelayOpened)

    async def grant(self, grant: RelayGrant) -> None:
        """Let a pair use the relay, within limits."""
        await self._program.ask("grant", grant, Done)

    async def revoke(self, token: str) -> None:
        """End the grant of a token, and what passes by it."""
        await self._program.ask("revoke", {"token": token}, Done)

    async def report(self) -> RelayReport:
        """Return what the relay carries."""
        return await self._program.ask("report", {}, RelayReport)


def token() -> str:
    """Return a new token of 128 bits."""
    return secrets.token_hex(TOKEN_BYTES)


@asynccontextmanager
async def relay_over(process: Running) -> AsyncIterator[Relay]:
    """Yield what drives a running relay, whose end is its owner's task."""
    program = Conversation(process, decoder=DECODER)
    async with reading(program):
        yield Relay(program)


@asynccontextmanager
async def local_relay(program: str = PROGRAM) -> AsyncIterator[Relay]:
    """Run a relay on this machine, beside the block."""
    async with started(program, "relay") as process, relay_over(process) as relay:
        yield relay
