"""What the state machines of a network ask their caller to do."""

from dataclasses import dataclass

from e3.didcomm.network.bodies import Body, Member, PairKeys
from e3.didcomm.session.bodies import Candidate


@dataclass(frozen=True, kw_only=True)
class Send:
    """Send a message to a DID; by every mediator if it is sent ``again``."""

    to: str
    body: Body
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class Connect:
    """Make a tunnel to a member in place of an older one; ``secret`` is the pair's, of 32 bytes.

    ``begins`` is true on one side of each pair.
    """

    member: Member
    keys: PairKeys
    candidates: tuple[Candidate, ...]
    secret: bytes
    begins: bool


@dataclass(frozen=True, kw_only=True)
class Reconnect:
    """A member has other addresses; its tunnel goes on."""

    member: Member
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, kw_only=True)
class Forget:
    """Remove the tunnel to whoever is no member any more."""

    member: Member


@dataclass(frozen=True, kw_only=True)
class Keep:
    """The members are others now: store the roster, by which a restarted agent goes on."""


Action = Send | Connect | Reconnect | Forget | Keep
