"""What the verbs of `e3 authority` print with ``--json``, as types; see `e3.cli.schemas`."""

from msgspec import Struct

from e3.ceremonies.overview import State


class ShareHolder(Struct):
    """A host with a share of a key; ``reason`` says why it is absent."""

    host: str
    number: int | None
    share: State
    epoch: int | None
    transcript: str
    stored: str
    reason: str


class JointAuthority(Struct):
    """A joint authority; ``able``: enough holders are there to sign."""

    purpose: str
    public_key: str
    transcript: str
    threshold: int
    epoch: int
    made: str
    able: bool
    certificate: str
    holders: list[ShareHolder]


class LogEntry(Struct):
    """What holders recorded of a ceremony; ``missing_from`` are hosts whose logs lack it."""

    time: str
    kind: str
    purpose: str
    epoch: int
    holders: list[str]
    what: list[str]
    recorded_by: list[str]
    missing_from: list[str]


class Refreshed(Struct):
    """A stack's joint authorities with their new shares."""

    stack: str
    authorities: list[JointAuthority]


class Ceremony(Struct):
    """A ceremony, how it ended, and who is to blame; ``seconds`` are missing where it did not.

    ``notes`` name those in whose place others dealt or signed. ``evidence`` is its folder.
    """

    id: str
    purpose: str
    kind: str
    started: str
    verdict: str
    reason: str
    culprits: list[str]
    notes: list[str]
    holders: list[str]
    epoch: int
    seconds: float | None
    evidence: str


class Authorities(Refreshed):
    """A stack's joint authorities, all that they signed, and how the last ceremonies ended."""

    signed: list[LogEntry]
    ceremonies: list[Ceremony]


class AuthorityLog(Struct):
    """The logs of all holders; ``unread`` says whose cannot be read, and why."""

    stack: str
    entries: list[LogEntry]
    unread: dict[str, str]


class ListedCredential(Struct):
    """A credential that was issued; ``place`` is that in the list of revoked ones."""

    identifier: str
    subject: str
    claims: dict[str, str]
    place: int
    until: str
    revoked: bool


class IssuedCredential(ListedCredential):
    """A new ``credential`` as JWT, by ``issuer``, a DID."""

    issuer: str
    credential: str


class Revocations(Struct):
    """The ``list`` of revoked credentials as JWT."""

    list: str
    url: str
