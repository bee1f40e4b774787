"""What the verbs of ad hoc sessions print with ``--json``, as types; see `e3.cli.schemas`."""

from msgspec import Struct


class KnownPerson(Struct):
    """Somebody to whom the user gave a name."""

    did: str
    name: str


class OwnIdentity(Struct):
    """The user's DID, what they call themselves, and the words to compare by voice."""

    did: str
    name: str
    words: str
    known: list[KnownPerson]


class Offered(Struct):
    """An invitation nearby; ``did`` is that of its author, ``expires`` a Unix time."""

    program: str
    parties: int
    name: str
    did: str
    digest: str
    expires: int
    link: str


class Posted(Offered):
    """An invitation on a board."""

    topic: str


class RunningMediator(Struct):
    """A mediator that takes messages; ``url`` is for `e3 invite --mediator`."""

    did: str
    url: str
