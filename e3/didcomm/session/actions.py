"""What the state machines of a session ask their caller to do."""

from dataclasses import dataclass

from e3.didcomm.session.bodies import Body, Candidate, LobbyView, Offer, Roster


@dataclass(frozen=True, kw_only=True)
class Send:
    """Send a message to a DID."""

    to: str
    body: Body


@dataclass(frozen=True, kw_only=True)
class Show:
    """Show who is there."""

    view: LobbyView


@dataclass(frozen=True, kw_only=True)
class Begin:
    """All are there: the initiator's own negotiation begins with this roster."""

    roster: Roster


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Ask the user whether to compute with these parties."""

    roster: Roster


@dataclass(frozen=True, kw_only=True)
class Connect:
    """Connect to a peer; ``secret`` is the pair's own, of 32 bytes, bound to the roster."""

    pid: int
    offer: Offer
    secret: bytes


@dataclass(frozen=True, kw_only=True)
class Reconnect:
    """A peer has new addresses."""

    pid: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, kw_only=True)
class Start:
    """Every pair is connected: start the program."""

    roster: Roster


@dataclass(frozen=True, kw_only=True)
class Left:
    """A party has left while the others compute."""

    pid: int
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Restart:
    """All begin once more, with a roster of this ``epoch``: a party is back."""

    epoch: int


@dataclass(frozen=True, kw_only=True)
class End:
    """The session is over before it began; ``culprit`` is the DID of the party that caused it."""

    why: str
    culprit: str | None = None


Action = Send | Show | Begin | Ask | Connect | Reconnect | Start | Left | Restart | End
