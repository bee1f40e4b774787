"""The bodies of the messages of e3-network 1.0, each with its bounds.

=============  ======================  ===========================================================
``join``       agent to convener       asks for the seat of an invitation, with its token
``refused``    convener to agent       that seat is not to be had, and why
``roster``     convener to all         who the members are, numbered by an epoch
``state``      each to each            keys and addresses for this pair, and what has come of the
                                       peer's; repeated until the peer says the same of ours
``piece``      each to each            what a connection carries, where there are no tunnels
=============  ======================  ===========================================================
"""

from typing import Annotated

from msgspec import Meta, Struct

from e3.didcomm.messages import Did
from e3.didcomm.session.bodies import Candidates, Hash, Token, Word, hash_of

PROTOCOL = "https://e3.example/e3-network/1.0"
"""Names the protocol; nothing is ever asked of that address."""

MOST_MEMBERS = 512
PIECE_BYTES = 1_500_000
"""In one message: encrypted twice it has three times as many bytes, and 8 MB is the most."""

HostName = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"\A[a-z0-9-]+\Z")]
Address = Annotated[str, Meta(pattern=r"\A[0-9.]{7,15}\Z")]
Number = Annotated[int, Meta(ge=0, lt=1 << 53)]
PublicKey = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9+/]{43}=\Z")]
Half = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{43}\Z")]
Mark = Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")]
"""A SHA-256 in hexadecimal, or nothing."""


class Join(Struct, frozen=True, kw_only=True):
    """An agent asks for the seat that its invitation names."""

    name: HostName
    token: Token


class Refused(Struct, frozen=True, kw_only=True):
    """The convener does not give a seat."""

    why: Word


class Member(Struct, frozen=True, kw_only=True):
    """A member: the name of its host, its DID, and its address in the network.

    ``public`` is a hint: others can call it. Of a pair, the one that cannot be called begins.
    """

    name: HostName
    did: Did
    address: Address
    public: bool = False


class Roster(Struct, frozen=True, kw_only=True):
    """The members of a network from now on; the highest ``epoch`` counts."""

    network: Hash
    epoch: Number
    members: Annotated[tuple[Member, ...], Meta(min_length=1, max_length=MOST_MEMBERS)]

    @property
    def hash(self) -> str:
        """What ties keys to this roster."""
        return hash_of(self)


class PairKeys(Struct, frozen=True, kw_only=True):
    """One side's keys for a pair, tied to a roster.

    ``wireguard`` and ``fingerprint`` (the SHA-256 of a TLS certificate) are of this run of the
    agent alone. ``half`` is its part of the pair's secret, and ``tunnel`` names the tunnel that
    this side has with the peer already, by the secret of that; empty if there is none.
    """

    roster: Hash
    wireguard: PublicKey
    fingerprint: Hash
    half: Half
    tunnel: Mark = ""

    @property
    def hash(self) -> str:
        """What the peer's state names as ``seen``."""
        return hash_of(self)


class State(Struct, frozen=True, kw_only=True):
    """All that one side of a pair tells the other; the highest ``number`` counts.

    ``seen`` is the hash of the peer's keys that have come. ``moved`` counts the changes of this
    side's ``candidates``, and ``heard`` is the peer's ``moved`` that has come. With ``wants`` this
    side waits for the peer's answer.
    """

    number: Number
    keys: PairKeys
    seen: Mark = ""
    candidates: Candidates = ()
    moved: Number = 0
    heard: Number = 0
    wants: bool = False


class Piece(Struct, frozen=True, kw_only=True):
    """What one side of a connection has sent, in the order of ``number``.

    The one with number 0 and a ``port`` opens a connection to that port of the recipient. With
    ``over`` nothing more comes from this side; ``broken``: it has ended by an error.
    """

    stream: Token
    number: Number
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    content: Annotated[str, Meta(max_length=2 * PIECE_BYTES)] = ""
    over: bool = False
    broken: bool = False


Body = Join | Refused | Roster | State | Piece

BODIES: dict[str, type[Body]] = {
    "join": Join,
    "refused": Refused,
    "roster": Roster,
    "state": State,
    "piece": Piece,
}
"""The body by the last part of a message's type."""

KINDS = {body: f"{PROTOCOL}/{name}" for name, body in BODIES.items()}
"""The type of the message that has a body."""
