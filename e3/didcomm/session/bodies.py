"""The bodies of the messages of e3-session 1.0, each with its bounds.

Every message of a session has its id as ``thid``.

===============  ======================  ========================================================
``join``         party to initiator      asks to be in, with the invitation's token and a proof
``program``      initiator to party      what is to be computed: `Proposal`
``ready``        party to initiator      this party's user consents to that proposal
``lobby``        initiator to all        who is there so far; nothing follows from it
``roster``       initiator to all        who the parties are
``offer``        each to each            keys and addresses for this pair, for this roster
``accept``       each to each            the peer's offer has come, and belongs to the same roster
``up``           each to all             this party has connections to these peers
``update``       each to each            new addresses, while the parties compute
``close``        anyone                  this party leaves, and says why
===============  ======================  ========================================================
"""

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from e3.didcomm.messages import Did

PROTOCOL = "https://e3.example/e3-session/1.0"
"""Names the protocol; nothing is ever asked of that address."""

MOST_PARTIES = 16
MOST_FILES = 1000
MOST_REQUIRED = 4
MOST_ROUNDS = 1000
PROGRAM_BYTES = 2_000_000
"""Of all files of a program together."""

PROPOSAL_BYTES = 3_000_000
"""Of a proposal as JSON: encrypted it is below what a mediator keeps for a party."""

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Hash = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Key = Annotated[str, Meta(max_length=44)]
Token = Annotated[str, Meta(min_length=22, max_length=22)]
Proof = Annotated[str, Meta(max_length=8192)]
Value = Annotated[str, Meta(max_length=200)]
Epoch = Annotated[int, Meta(ge=0, le=1_000_000)]
"""Numbers the rosters of a session: a new one begins with each round, and when a party is back."""

Pid = Annotated[int, Meta(ge=0, lt=MOST_PARTIES)]
Word = Annotated[str, Meta(max_length=1000)]
Credentials = Annotated[tuple[Annotated[str, Meta(max_length=8192)], ...], Meta(max_length=4)]


class Join(Struct, frozen=True, kw_only=True):
    """Somebody asks to be in: ``name`` is what they call themselves."""

    token: Token
    name: Name
    identity: Did
    proof: Proof
    credentials: Credentials = ()


class Wanted(Struct, frozen=True, kw_only=True):
    """What a link says of a `Requirement`, so that guests show no more than that."""

    claim: Name
    value: Value
    issuer: Did


class Requirement(Struct, frozen=True, kw_only=True):
    """A credential of ``issuer`` that every party shows, in which ``claim`` has that ``value``.

    ``revocations`` is the issuer's list of revoked credentials, if there is one.
    """

    claim: Name
    value: Value
    issuer: Did
    revocations: Annotated[str, Meta(max_length=65_536)] = ""


class ProgramFile(Struct, frozen=True, kw_only=True):
    """A file of the program: its path below the program's folder, and its content in base64."""

    path: Annotated[str, Meta(min_length=1, max_length=1000)]
    executable: bool = False
    content: Annotated[str, Meta(max_length=2 * PROGRAM_BYTES)]


class Proposal(Struct, frozen=True, kw_only=True):
    """What is to be computed, under which rules.

    ``digest`` is that of the program, see `e3.experiment.Program`. ``args`` are the same for all
    parties. The result stays secret from up to ``threshold`` parties that join their data. It can
    be computed in up to ``rounds`` rounds, as long as all parties want another one.
    """

    name: Name
    entry: Annotated[str, Meta(min_length=1, max_length=1000)]
    digest: Hash
    files: Annotated[tuple[ProgramFile, ...], Meta(min_length=1, max_length=MOST_FILES)]
    args: Annotated[tuple[Word, ...], Meta(max_length=100)] = ()
    parties: Annotated[int, Meta(ge=1, le=MOST_PARTIES)]
    threshold: Annotated[int, Meta(ge=0, lt=MOST_PARTIES)]
    deadline_seconds: Annotated[float, Meta(ge=1, le=7 * 86_400)]
    note: Word = ""
    requires: Annotated[tuple[Requirement, ...], Meta(max_length=MOST_REQUIRED)] = ()
    rounds: Annotated[int, Meta(ge=1, le=MOST_ROUNDS)] = 1

    @property
    def hash(self) -> str:
        """What a party consents to."""
        return hash_of(self)


class Program(Struct, frozen=True, kw_only=True):
    """The answer to ``join``: the proposal, who makes it, and the epoch of the roster to come."""

    proposal: Proposal
    name: Name
    identity: Did
    proof: Proof
    credentials: Credentials = ()
    epoch: Epoch = 0


class Ready(Struct, frozen=True, kw_only=True):
    """The user of a party consents to the proposal of that hash, and to take part in a roster."""

    proposal: Hash
    epoch: Epoch = 0


class Present(Struct, frozen=True, kw_only=True):
    """Somebody in the lobby, as the initiator sees it."""

    name: Name
    identity: Did
    ready: bool


class LobbyView(Struct, frozen=True, kw_only=True):
    """Who is there, of how many."""

    present: Annotated[tuple[Present, ...], Meta(max_length=MOST_PARTIES)]
    parties: Annotated[int, Meta(ge=1, le=MOST_PARTIES)]


class Member(Struct, frozen=True, kw_only=True):
    """A party: ``did`` is for this session alone, and ``proof`` ties it to ``identity``."""

    pid: Pid
    did: Did
    identity: Did
    name: Name
    proof: Proof
    credentials: Credentials = ()


class Roster(Struct, frozen=True, kw_only=True):
    """Who the parties of a session are, by pid, and what they compute."""

    epoch: Epoch
    session: Annotated[str, Meta(pattern=r"\A[0-9]{8}-[0-9]{6}-[0-9a-f]{4}\Z")]
    proposal: Hash
    members: Annotated[tuple[Member, ...], Meta(min_length=1, max_length=MOST_PARTIES)]

    @property
    def hash(self) -> str:
        """What ties offers and keys to this roster."""
        return hash_of(self)

    def pid_of(self, did: str) -> int | None:
        """Return the pid of a session's DID, None if it is no member's."""
        return next((each.pid for each in self.members if each.did == did), None)


class Candidate(Struct, frozen=True, kw_only=True):
    """An address with its port, where a party may be reached; see `e3.tunnel.messages`."""

    kind: Literal["host", "ipv6", "reflexive", "tcp"]
    address: Annotated[str, Meta(pattern=r"\A[0-9a-fA-F.:\[\]]{2,64}\Z")]


Candidates = Annotated[tuple[Candidate, ...], Meta(max_length=32)]


class Offer(Struct, frozen=True, kw_only=True):
    """Keys and addresses of a party for one peer.

    ``fingerprint`` is the SHA-256 of its TLS certificate, ``wireguard`` its public key in base64
    if it has one; both are of this session alone. ``half`` is its part of the pair's secret.
    """

    epoch: Epoch
    roster: Hash
    pid: Pid
    fingerprint: Hash
    wireguard: Key = ""
    half: Annotated[str, Meta(min_length=43, max_length=43)]
    candidates: Candidates = ()

    @property
    def hash(self) -> str:
        """What an ``accept`` names."""
        return hash_of(self)


class Accept(Struct, frozen=True, kw_only=True):
    """The offer of that hash has come."""

    epoch: Epoch
    roster: Hash
    offer: Hash


class Up(Struct, frozen=True, kw_only=True):
    """A party is connected to all; ``seen`` are those who have told it the same."""

    epoch: Epoch
    roster: Hash
    seen: Annotated[tuple[Pid, ...], Meta(max_length=MOST_PARTIES)] = ()


class Update(Struct, frozen=True, kw_only=True):
    """New addresses of a party; ``number`` grows with each."""

    number: Annotated[int, Meta(ge=1, le=1_000_000)]
    roster: Hash
    candidates: Candidates


class Close(Struct, frozen=True, kw_only=True):
    """A party leaves; the initiator can let all begin once more (``restarted``)."""

    reason: Literal[
        "declined", "cancelled", "full", "expired", "refused", "failed", "done", "restarted"
    ]
    detail: Word = ""
    epoch: Epoch = 0


Body = Join | Program | Ready | LobbyView | Roster | Offer | Accept | Up | Update | Close

BODIES: dict[str, type[Body]] = {
    "join": Join,
    "program": Program,
    "ready": Ready,
    "lobby": LobbyView,
    "roster": Roster,
    "offer": Offer,
    "accept": Accept,
    "up": Up,
    "update": Update,
    "close": Close,
}
"""The body by the last part of a message's type."""

KINDS = {body: f"{PROTOCOL}/{name}" for name, body in BODIES.items()}
"""The type of the message that has a body."""


def hash_of(body: Struct) -> str:
    """Return the SHA-256 of a body in its one canonical form, in hexadecimal."""
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest()
