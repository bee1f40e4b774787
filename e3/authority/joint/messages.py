"""What holders of a key say to one another in a ceremony, and the coordinator to a holder.

The coordinator asks with a `Request`, and the holder answers with an `Answer`: one line of JSON
each, of typed and bounded values. What a holder says to the others is the body of an `Envelope`,
which it signs (`e3.authority.joint.channel`); the coordinator only passes it on.
"""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from e3.authority.joint.policy import Scope

MOST_HOLDERS = 200
MOST_MESSAGES = 1000
"""That one ceremony signs."""
REQUEST_BYTES = 65_536
"""Of one request to sign, encoded."""
BODY_BYTES = 600_000
"""Of what a holder says to all others. A line has a million characters at most."""

Identifier = Annotated[int, Meta(ge=1, le=65_535)]
Epoch = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Bytes64 = Annotated[bytes, Meta(min_length=64, max_length=64)]
Blob = Annotated[bytes, Meta(max_length=BODY_BYTES)]
Word = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9-]{0,62}\Z")]
Text = Annotated[str, Meta(max_length=2000)]
Certificate = Annotated[str, Meta(max_length=REQUEST_BYTES)]
Encoded = Annotated[bytes, Meta(max_length=REQUEST_BYTES)]
Signers = Annotated[list[Identifier], Meta(min_length=1, max_length=MOST_HOLDERS)]

T = TypeVar("T")


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value that is signed or stored."""


class HolderKey(Body, frozen=True, kw_only=True):
    """A holder: its host, and the public key by which the other holders know it."""

    name: Word
    key: Bytes32


class Archived(Body, frozen=True, kw_only=True):
    """The authority's own certificate, which is signed once: its request, signature and text."""

    request: Encoded
    signature: Bytes64
    text: Certificate


class Header(Body, frozen=True, kw_only=True):
    """The public side of a key in shares, in one epoch, and what may be signed with it.

    ``public_shares`` are the holders' shares times the base point. ``transcript`` is the digest of
    all that the holders saw in this ceremony and in those before; it is the same for each of them.
    ``certificate`` is the authority's own, if it was signed before this epoch. ``last_number`` is
    the highest that a holder ever had, ``made`` a Unix time.
    """

    purpose: Word
    epoch: Epoch
    public_key: Bytes32
    threshold: Identifier
    holders: Annotated[dict[Identifier, HolderKey], Meta(max_length=MOST_HOLDERS)]
    public_shares: Annotated[dict[Identifier, Bytes32], Meta(max_length=MOST_HOLDERS)]
    scope: Scope
    certificate: Archived | None = None
    transcript: Bytes32
    last_number: Identifier
    made: int


class Envelope(Body, frozen=True, kw_only=True):
    """What a holder says to all others, with its signature; see `channel.verify`."""

    sender: Identifier
    body: Blob
    signature: Bytes64


class Hello(Body, frozen=True, kw_only=True):
    """How a holder enters a ceremony that makes shares.

    ``sealing`` is an X25519 key for this ceremony alone, and ``nonce`` makes ceremonies differ.
    ``own`` is the public key that this host has made for itself, and that may be certified.
    """

    purpose: Word
    key: Bytes32
    sealing: Bytes32
    nonce: Bytes32
    own: Bytes32 | None = None


class Promise(Body, frozen=True, kw_only=True):
    """The digest of what a dealer is going to publish, so that no dealer chooses after others."""

    digest: Bytes32


class Dealt(Body, frozen=True, kw_only=True):
    """What a dealer publishes: its polynomial in the exponent, and a proof that it knows it."""

    coefficients: Annotated[list[Bytes32], Meta(min_length=1, max_length=MOST_HOLDERS)]
    commitment: Bytes32
    response: Bytes32


class DealtValue(Body, frozen=True, kw_only=True):
    """What a dealer gives one receiver alone; signed, so that a wrong one convicts its dealer."""

    receiver: Identifier
    value: Bytes32


class Prepared(Body, frozen=True, kw_only=True):
    """A receiver has stored its share, and this is the digest of all that it saw."""

    view: Bytes32
    header: Bytes32


class Committed(Body, frozen=True, kw_only=True):
    """The commitments of a signer: hiding and binding for each message."""

    commitments: Annotated[list[tuple[Bytes32, Bytes32]], Meta(max_length=MOST_MESSAGES)]


class Signed(Body, frozen=True, kw_only=True):
    """The shares of a signer, one of each signature.

    ``nonce_points`` are the first halves of the signatures, which each signer has computed anyway.
    """

    shares: Annotated[list[Bytes32], Meta(max_length=MOST_MESSAGES)]
    nonce_points: Annotated[list[Bytes32], Meta(max_length=MOST_MESSAGES)]


class CeremonyTerms(Body, frozen=True, kw_only=True):
    """What a ceremony that makes shares is about, the same for all.

    ``holders`` get the shares. ``dealers`` are all of them where a key is made, and ``base`` is
    empty then. Else they are ``threshold`` or more of those in ``base``, the header of the epoch
    before.
    """

    purpose: Word
    epoch: Epoch
    threshold: Identifier
    holders: Annotated[dict[Identifier, HolderKey], Meta(min_length=1, max_length=MOST_HOLDERS)]
    dealers: Signers
    scope: Scope
    made: int
    certificate: Archived | None = None
    base: Header | None = None


# What the coordinator asks.


class Ask(msgspec.Struct, frozen=True, tag_field="ask", forbid_unknown_fields=True, kw_only=True):
    """A request to a holder; ``purpose`` names the key."""

    purpose: Word


class Greet(Ask, frozen=True, kw_only=True, tag="greet"):
    """Enter a ceremony, and say which shares are there."""


class Prove(Ask, frozen=True, kw_only=True, tag="prove"):
    """Prove that the share is there that was shown; ``nonce`` is drawn by who asks."""

    nonce: Bytes32


class Begin(Ask, frozen=True, kw_only=True, tag="begin"):
    """Begin to make shares; ``hellos`` are what all dealers and holders said."""

    identifier: Identifier
    terms: CeremonyTerms
    hellos: Annotated[dict[Identifier, Envelope], Meta(max_length=2 * MOST_HOLDERS)]


class Deal(Ask, frozen=True, kw_only=True, tag="deal"):
    """Publish what was promised; ``promises`` are those of all dealers."""

    promises: Annotated[list[Envelope], Meta(max_length=MOST_HOLDERS)]


class Receive(Ask, frozen=True, kw_only=True, tag="receive"):
    """Make a share of what all dealers ``dealt``; ``values`` are for this receiver, by dealer.

    ``public_shares`` are all receivers', as the coordinator has computed them; each receiver
    checks them, which takes a tenth of the time.
    """

    promises: Annotated[list[Envelope], Meta(max_length=MOST_HOLDERS)]
    dealt: Annotated[list[Envelope], Meta(max_length=MOST_HOLDERS)]
    values: Annotated[dict[Identifier, Blob], Meta(max_length=MOST_HOLDERS)]
    public_shares: Annotated[dict[Identifier, Bytes32], Meta(max_length=MOST_HOLDERS)]


class Commit(Ask, frozen=True, kw_only=True, tag="commit"):
    """Use the share that was prepared, since all holders have ``prepared`` theirs."""

    prepared: Annotated[list[Envelope], Meta(max_length=MOST_HOLDERS)]


class Draw(Ask, frozen=True, kw_only=True, tag="draw"):
    """Draw nonces for a signature of each of ``requests``, if the policy allows them.

    ``header`` is the digest of that of the shares to sign with. ``hellos`` are those of holders
    for whose own hosts certificates are asked, by number: they say which keys are theirs.
    """

    ceremony: Bytes16
    header: Bytes32
    signers: Signers
    requests: Annotated[list[Encoded], Meta(min_length=1, max_length=MOST_MESSAGES)]
    hellos: Annotated[dict[Identifier, Envelope], Meta(max_length=MOST_HOLDERS)] = {}


class Sign(Ask, frozen=True, kw_only=True, tag="sign"):
    """Sign with the nonces drawn last; ``committed`` are the commitments of all signers."""

    committed: Annotated[list[Envelope], Meta(min_length=1, max_length=MOST_HOLDERS)]


class Archive(Ask, frozen=True, kw_only=True, tag="archive"):
    """Keep the certificate of the authority; from then on no other is signed."""

    certificate: Archived


class Log(Ask, frozen=True, kw_only=True, tag="log"):
    """Show entries of the holder's own log from the one numbered ``first``."""

    first: Annotated[int, Meta(ge=0)] = 0


class Forget(Ask, frozen=True, kw_only=True, tag="forget"):
    """Remove the shares of this key."""


Request = Greet | Prove | Begin | Deal | Receive | Commit | Draw | Sign | Archive | Log | Forget


# What a holder answers.


class Answer(
    msgspec.Struct, frozen=True, tag_field="answer", forbid_unknown_fields=True, kw_only=True
):
    """An answer of a holder."""


class Done(Answer, frozen=True, kw_only=True, tag="done"):
    """It is done."""


class Greeted(Answer, frozen=True, kw_only=True, tag="greeted"):
    """What a holder has of a key; ``hello`` is signed, its sender is not yet numbered.

    ``certificate`` is the authority's, once archived. ``pending`` is the header of a share that
    is prepared and not in use. ``prepared`` is what made all holders use the share of ``header``.
    ``sealed`` says how shares are stored.
    """

    hello: Envelope
    sealed: Word
    header: Header | None = None
    pending: Header | None = None
    prepared: Annotated[list[Envelope], Meta(max_length=MOST_HOLDERS)] = []
    certificate: Archived | None = None


class Proved(Answer, frozen=True, kw_only=True, tag="proved"):
    """A proof that the holder has its share (`e3.authority.joint.sharing.Proof`)."""

    commitment: Bytes32
    response: Bytes32


class Spoken(Answer, frozen=True, kw_only=True, tag="spoken"):
    """What the holder says to all others, and to each receiver alone."""

    envelope: Envelope
    values: Annotated[dict[Identifier, Blob], Meta(max_length=MOST_HOLDERS)] = {}


class Complained(Answer, frozen=True, kw_only=True, tag="complained"):
    """A dealer's value is wrong. With ``evidence``, a value that it signed, it is convicted."""

    dealer: Identifier
    reason: Text
    evidence: Envelope | None = None


class Failed(Answer, frozen=True, kw_only=True, tag="failed"):
    """The holder does not go on; ``culprits`` are holders whose words are wrong."""

    reason: Text
    culprits: Annotated[list[Identifier], Meta(max_length=MOST_HOLDERS)] = []


class Refused(Answer, frozen=True, kw_only=True, tag="refused"):
    """The holder's policy forbids what it was asked to sign: the ``rule``, and the value."""

    rule: Word
    reason: Text


class LogPage(Answer, frozen=True, kw_only=True, tag="log"):
    """Entries of a log, each signed by the holder's ``key``; ``total`` are in it."""

    key: Bytes32
    total: Annotated[int, Meta(ge=0)]
    entries: Annotated[list[Envelope], Meta(max_length=1000)]


AnyAnswer = Done | Greeted | Proved | Spoken | Complained | Failed | Refused | LogPage


def encode(value: msgspec.Struct) -> bytes:
    """Return the one encoding of a value: JSON, all keys sorted."""
    return msgspec.json.encode(msgspec.to_builtins(value, str_keys=True), order="sorted")


def decode(data: bytes, kind: type[T]) -> T:
    """Return a value of a kind; raise `msgspec.MsgspecError` for anything else."""
    try:
        return msgspec.json.decode(data, type=kind)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"this is no UTF-8: {error.reason}") from None
