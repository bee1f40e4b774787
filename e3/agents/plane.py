"""What carries data between the members of a network: tunnels, or messages to compare with."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from e3.agents.station import Station
from e3.didcomm.network.actions import Connect, Forget, Reconnect
from e3.didcomm.network.bodies import Piece
from e3.didcomm.network.invitation import MediatorPlace
from e3.didcomm.network.membership import Ends
from e3.didcomm.session.bodies import Candidate

Linking = Connect | Reconnect | Forget
"""What a membership asks of it."""


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """How a member is reached; ``by`` is the IP address of what relays.

    ``handshake`` is when the tunnel to it had its last handshake, in seconds of Unix; 0 if none.
    """

    path: Literal["direct", "relayed", "none"]
    by: str = ""
    handshake: int = 0


class Plane(Protocol):
    """One agent's end."""

    @property
    def ends(self) -> Ends:
        """The keys of this run, and the addresses at which this host is reached at first."""

    def do(self, action: Linking) -> None:
        """Carry that out, after all that was asked for before; without waiting."""

    async def paths(self) -> dict[str, Reached]:
        """Return how each member is reached, by the name of its host."""

    async def keep(self) -> None:
        """Carry out for ever what is asked for."""

    async def tend(self, stations: Sequence[Station]) -> None:
        """Look after paths; called again and again, with the mediators that can be reached."""

    async def use(self, mediators: Sequence[MediatorPlace]) -> None:
        """Let these mediators say where this host is, from now on."""

    def take(self, sender: str, piece: Piece) -> None:
        """Take what a member's side of a connection has sent by a message."""

    async def moved(self) -> tuple[Candidate, ...]:
        """Return this host's addresses, once they are others than before."""
