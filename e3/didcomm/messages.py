"""DIDComm v2 messages, and every check of a received one. Nothing else decrypts.

A message that `Unpacker.unpack` returns has these properties, which libraries of DIDComm leave to
their callers:

- ``sender`` is the DID whose key encrypted it (authcrypt), and ``from`` says the same;
- ``signer`` is the DID whose key signed it, and ``from`` says the same;
- ``to`` has the DID whose key opened it; only an anonymous message may leave ``to`` out;
- it was created within the last hour, has not expired, and lasts for an hour at most, by a clock
  that may be wrong by `CLOCK_SECONDS`;
- no message of this id came from this sender before.
"""

import secrets
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from msgspec import UNSET, Meta, UnsetType

from e3.didcomm import did as dids
from e3.didcomm import envelope
from e3.didcomm.did import Document, DocumentKey, Service
from e3.didcomm.envelope import PrivateKey
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import unbase64
from e3.remote.text import printable

PLAIN = "application/didcomm-plain+json"
FORWARD = "https://didcomm.org/routing/2.0/forward"

CLOCK_SECONDS = 60
"""How wrong a clock may be."""

LIFETIME_SECONDS = 120
"""For which a message of ours is valid."""

LONGEST_SECONDS = 3600
PADDED_BYTES = 1024
"""Plaintexts have a multiple of it."""

MOST_LAYERS = 4
MOST_REMEMBERED = 65_536

Did = Annotated[str, Meta(max_length=dids.DID_LENGTH)]
Id = Annotated[str, Meta(min_length=1, max_length=128)]
Seconds = Annotated[int, Meta(ge=0, lt=1 << 53)]
"""Since 1970; JSON's numbers may be too large for arithmetic."""


class AttachmentData(msgspec.Struct, omit_defaults=True):
    """The content of an attachment: ``json`` as it stands, or ``base64``."""

    json: msgspec.Raw | UnsetType = UNSET
    base64: str | UnsetType = UNSET


class Attachment(msgspec.Struct, omit_defaults=True):
    """An attachment; of its members those that E3 uses."""

    data: AttachmentData
    id: str | UnsetType = UNSET
    media_type: str | UnsetType = UNSET

    @property
    def content(self) -> bytes:
        """The content in bytes."""
        if self.data.json is not UNSET:
            return bytes(self.data.json)
        if self.data.base64 is not UNSET:
            return unbase64(self.data.base64)
        raise DidcommError("an attachment has neither json nor base64")


class Message(msgspec.Struct, omit_defaults=True, rename={"from_": "from"}, kw_only=True):
    """A plaintext message, as DIDComm Messaging v2.1 names its members; ``body`` stays as sent."""

    id: Id
    type: Annotated[str, Meta(min_length=1, max_length=256)]
    typ: str | UnsetType = UNSET
    body: msgspec.Raw = msgspec.Raw(b"{}")
    from_: Did | UnsetType = UNSET
    to: Annotated[list[Did], Meta(max_length=16)] | UnsetType = UNSET
    thid: Id | UnsetType = UNSET
    pthid: Id | UnsetType = UNSET
    created_time: Seconds | UnsetType = UNSET
    expires_time: Seconds | UnsetType = UNSET
    return_route: str | UnsetType = UNSET
    attachments: Annotated[list[Attachment], Meta(max_length=256)] | UnsetType = UNSET


class _Members(msgspec.Struct):
    """Those that tell the forms of a message apart."""

    ciphertext: msgspec.Raw | UnsetType = UNSET
    payload: msgspec.Raw | UnsetType = UNSET


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message that passed every check; ``own`` is the DID that it was sent to."""

    message: Message
    own: str
    sender: str | None
    signer: str | None


@dataclass(frozen=True, kw_only=True, repr=False)
class Identity:
    """A DID whose keys are ours: ``agreement`` opens its messages, ``signing`` signs."""

    did: str
    agreement: X25519PrivateKey
    signing: Ed25519PrivateKey

    @classmethod
    def make(cls, services: Sequence[Service] = ()) -> "Identity":
        """Return a new did:peer:2."""
        agreement, signing = X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        did = dids.peer_did(agreement.public_key(), signing.public_key(), services)
        return cls(did=did, agreement=agreement, signing=signing)

    @property
    def document(self) -> Document:
        """The document of the DID."""
        return dids.resolve(self.did)

    @property
    def secret(self) -> tuple[str, PrivateKey]:
        """The key that opens and sends messages, and its id."""
        return self.document.agreement[0].id, self.agreement


def message(  # noqa: PLR0913 - the members of a message, by keyword
    kind: str,
    body: object,
    *,
    now: float,
    to: str,
    sender: str | None = None,
    lifetime_seconds: int = LIFETIME_SECONDS,
    **more: Any,  # noqa: ANN401 - other members of `Message`
) -> Message:
    """Return a new message of type ``kind``."""
    return Message(
        id=str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)),
        typ=PLAIN,
        type=kind,
        body=msgspec.Raw(msgspec.json.encode(body)),
        from_=sender if sender is not None else UNSET,
        to=[to],
        created_time=int(now),
        expires_time=int(now) + lifetime_seconds,
        **more,
    )


def pack(sent: Message, to: Document, sender: Identity | None, *, signed: bool = False) -> bytes:
    """Return a message encrypted to a DID: authenticated with a ``sender``, else anonymous."""
    plaintext = padded(msgspec.json.encode(sent))
    if signed and sender is not None:
        kid = sender.document.authentication[0].id
        plaintext = envelope.sign(plaintext, kid, sender.signing)
    secret = sender.secret if sender else None
    return envelope.encrypt(plaintext, _keys(to, sender), secret)


def padded(plaintext: bytes) -> bytes:
    """Return JSON with spaces after it, so that its length tells less of what is in it."""
    return plaintext + b" " * (-len(plaintext) % PADDED_BYTES)


def forward(packed: bytes, following: str, mediator: Document, now: float) -> bytes:
    """Return a packed message in one to a mediator, which passes it on to DID ``following``."""
    sent = message(
        FORWARD,
        {"next": following},
        now=now,
        to=mediator.did,
        attachments=[Attachment(data=AttachmentData(json=msgspec.Raw(packed)))],
    )
    return envelope.encrypt(msgspec.json.encode(sent), _keys(mediator))


def _keys(document: Document, sender: Identity | None = None) -> list[DocumentKey]:
    """Return the first key of a document to encrypt to, of the sender's curve if there is one."""
    fits = [
        each
        for each in document.agreement
        if sender is None or isinstance(each.key, X25519PublicKey)
    ]
    if not fits:
        raise DidcommError(f"{printable(document.did, 80)} has no key to encrypt to")
    return fits[:1]


@dataclass(kw_only=True)
class Unpacker:
    """Opens messages for some identities; remembers their ids until they have expired.

    ``clock`` gives seconds since 1970, ``resolve`` the documents of others.
    """

    clock: Callable[[], float]
    resolve: Callable[[str], Document] = dids.resolve
    _secrets: dict[str, PrivateKey] = field(default_factory=dict)
    _seen: OrderedDict[tuple[str, str], float] = field(default_factory=OrderedDict)

    def add(self, identity: Identity) -> None:
        """Open messages to this identity from now on."""
        kid, key = identity.secret
        self._secrets[kid] = key

    def unpack(self, data: bytes) -> Received:
        """Return the message in an encrypted one; raise `DidcommError` if a check fails."""
        kids: list[str] = []
        senders: list[str] = []
        signers: list[str] = []
        for _ in range(MOST_LAYERS):
            form = _form(data)
            if form == "plain":
                break
            if form == "encrypted":
                if signers:
                    raise DidcommError("a signed message has an encrypted one in it")
                opened = envelope.decrypt(data, self._secrets, self.resolve)
                data = opened.content
                kids.append(opened.kid)
                senders += [opened.sender] if opened.sender is not None else []
            else:
                verified = envelope.verify(data, self.resolve)
                data = verified.content
                signers += verified.kids
        else:
            raise DidcommError(f"a message has more than {MOST_LAYERS} layers")
        if not kids:
            raise DidcommError("a message is not encrypted")
        return self._checked(data, kids, senders, signers)

    def _checked(
        self, data: bytes, kids: Sequence[str], senders: Sequence[str], signers: Sequence[str]
    ) -> Received:
        try:
            read = msgspec.json.decode(data, type=Message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DidcommError(f"a message cannot be read: {printable(error)}") from None
        owns = {_did(kid) for kid in kids}
        claimed = {_did(kid) for kid in (*senders, *signers)}
        if len(owns) != 1 or len(claimed) > 1:
            raise DidcommError("the layers of a message are of different senders or recipients")
        own = owns.pop()
        if claimed and {read.from_} != claimed:
            raise DidcommError("a message is not from the DID that it names as its sender")
        if read.to is UNSET:
            if claimed:
                raise DidcommError("a message does not say to whom it goes")
        elif own not in read.to:
            raise DidcommError("a message was sent to another DID")
        self._check_time(read)
        self._check_new(read, next(iter(claimed), ""))
        return Received(
            message=read,
            own=own,
            sender=_did(senders[0]) if senders else None,
            signer=_did(signers[0]) if signers else None,
        )

    def _check_time(self, read: Message) -> None:
        now = self.clock()
        created = now if read.created_time is UNSET else read.created_time
        if created > now + CLOCK_SECONDS:
            raise DidcommError(
                f"a message is {created - now:.0f} s from the future; set both clocks right"
            )
        if read.expires_time is UNSET:
            if created < now - LONGEST_SECONDS:
                raise DidcommError("a message is too old")
        elif read.expires_time < now - CLOCK_SECONDS:
            raise DidcommError(
                f"a message expired {now - read.expires_time:.0f} s ago; if that was not long "
                "ago for its sender, set both clocks right"
            )
        elif read.expires_time > now + LONGEST_SECONDS + CLOCK_SECONDS:
            raise DidcommError("a message is valid for more than an hour")

    def _check_new(self, read: Message, claimed: str) -> None:
        now = self.clock()
        while self._seen and (
            next(iter(self._seen.values())) < now or len(self._seen) >= MOST_REMEMBERED
        ):
            self._seen.popitem(last=False)
        if (claimed, read.id) in self._seen:
            raise DidcommError("a message came twice")
        # all are remembered for the longest time, so that they are in the order of their end
        self._seen[claimed, read.id] = now + LONGEST_SECONDS + 2 * CLOCK_SECONDS


def _form(data: bytes) -> str:
    """Return whether JSON is an encrypted, a signed or a plaintext message."""
    if len(data) > envelope.MESSAGE_BYTES:
        raise DidcommError(f"a message has more than {envelope.MESSAGE_BYTES} bytes")
    try:
        members = msgspec.json.decode(data, type=_Members)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DidcommError(f"a message cannot be read: {printable(error)}") from None
    if members.ciphertext is not UNSET:
        return "encrypted"
    return "signed" if members.payload is not UNSET else "plain"


def _did(kid: str) -> str:
    return kid.partition("#")[0]


def body_of(received: Message, kind: type[Any]) -> Any:  # noqa: ANN401 - an instance of ``kind``
    """Return the body of a message as ``kind``, a `msgspec.Struct`; raise `DidcommError`."""
    try:
        return msgspec.json.decode(received.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = printable(received.type.rpartition("/")[2], 40)
        raise DidcommError(
            f"the body of a message {name} cannot be read: {printable(error)}"
        ) from None
