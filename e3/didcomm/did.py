"""Decentralized identifiers (DIDs) and their documents: did:key, did:peer:2 and did:peer:4.

A document of these methods follows from the identifier alone; `web_did` asks a server for those of
did:web. Whatever others wrote becomes a `Document` here, or a `DidcommError`: bounded in length,
each key a point of its curve, each key's id absolute and of the document's own DID.

Sources: W3C DID Core 1.0, the did:key method 0.9, Peer DID Method 1.0 of DIF.
"""

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import did_peer_2
import did_peer_4
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import (
    Jwk,
    PublicKey,
    agreement_key,
    from_base58,
    from_jwk,
    from_multikey,
    multikey,
)
from e3.remote.text import printable

DID_LENGTH = 4096
"""The most characters of a DID; did:peer:4 has its whole document in it."""

DOCUMENT_BYTES = 65_536
MOST_KEYS, MOST_SERVICES = 32, 8
MOST_ROUTES = 2
"""Of a service's routing keys: a message grows by a third with each."""

SYNTAX = re.compile(r"did:[a-z0-9]{1,16}:[A-Za-z0-9._:%-]{1,4096}")
"""W3C DID Core, 3.1, with bounds."""

FORM = "application/didcomm-encrypted+json"
DIDCOMM = "DIDCommMessaging"
PROFILE = "didcomm/v2"


@dataclass(frozen=True, kw_only=True)
class DocumentKey:
    """A public key of a document; ``id`` is absolute, as in ``did:peer:2...#key-1``."""

    id: str
    key: PublicKey


@dataclass(frozen=True, kw_only=True)
class Service:
    """Where DIDComm messages for a DID go: a URI, or the DID of a mediator."""

    uri: str
    routing_keys: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a DID stands for.

    ``authentication`` are the keys that sign for it, ``agreement`` those to encrypt to, each in
    the order of preference. ``services`` take its DIDComm messages.
    """

    did: str
    authentication: tuple[DocumentKey, ...] = ()
    agreement: tuple[DocumentKey, ...] = ()
    services: tuple[Service, ...] = ()

    def signing_key(self, kid: str) -> PublicKey:
        """Return the key of this id that signs for the DID."""
        return self._key(self.authentication, kid, "signs")

    def agreement_key(self, kid: str) -> PublicKey:
        """Return the key of this id to which the DID's messages are encrypted."""
        return self._key(self.agreement, kid, "encrypts")

    def _key(self, keys: Sequence[DocumentKey], kid: str, use: str) -> PublicKey:
        for each in keys:
            if each.id == kid:
                return each.key
        raise DidcommError(f"{printable(self.did, 80)} has no key {printable(kid, 80)} that {use}")


class _Method(msgspec.Struct, rename="camel"):
    id: str
    type: str = ""
    public_key_multibase: str | None = None
    public_key_base58: str | None = None
    public_key_jwk: Jwk | None = None


class _Endpoint(msgspec.Struct, rename="camel"):
    uri: str
    accept: list[str] | None = None
    routing_keys: list[str] = []


class _Service(msgspec.Struct, rename="camel"):
    service_endpoint: str | _Endpoint | list[str | _Endpoint]
    type: str | list[str] = ""
    routing_keys: list[str] = []
    accept: list[str] | None = None


class _Document(msgspec.Struct, rename="camel"):
    id: str
    verification_method: list[_Method] = []
    authentication: list[str | _Method] = []
    key_agreement: list[str | _Method] = []
    service: list[_Service] | _Service = []


def key_did(public: Ed25519PublicKey) -> str:
    """Return the did:key of an Ed25519 key."""
    return f"did:key:{multikey(public)}"


def public_key(did: str) -> Ed25519PublicKey:
    """Return the Ed25519 key of a did:key."""
    key = from_multikey(syntax(did).removeprefix("did:key:"))
    if not isinstance(key, Ed25519PublicKey):
        raise DidcommError(f"{printable(did, 80)} is no did:key of an Ed25519 key")
    return key


def peer_did(
    agreement: X25519PublicKey, authentication: Ed25519PublicKey, services: Sequence[Service]
) -> str:
    """Return the did:peer:2 of these keys; ``#key-1`` encrypts and ``#key-2`` signs."""
    spec = did_peer_2.KeySpec
    keys = [spec.encryption(multikey(agreement)), spec.authentication(multikey(authentication))]
    return str(did_peer_2.generate(keys, [_encoded(each) for each in services]))


def _encoded(service: Service) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"uri": service.uri, "accept": [PROFILE]}
    if service.routing_keys:
        endpoint["routingKeys"] = list(service.routing_keys)
    return {"type": DIDCOMM, "serviceEndpoint": endpoint}


def syntax(did: str) -> str:
    """Return ``did`` if it has the form of a DID and is not too long."""
    if len(did) > DID_LENGTH or not SYNTAX.fullmatch(did):
        raise DidcommError(f"{printable(did, 80)} is no DID of at most {DID_LENGTH} characters")
    return did


@functools.lru_cache(maxsize=1024)
def resolve(did: str) -> Document:
    """Return the document of a did:key, did:peer:2 or did:peer:4 (in its long form)."""
    syntax(did)
    if did.startswith("did:key:"):
        return _of_key(did)
    if did.startswith("did:peer:2."):
        return _of_peer(did, did_peer_2.resolve)
    if did.startswith("did:peer:4"):
        return _of_peer(did, did_peer_4.resolve)
    raise DidcommError(f"{printable(did, 80)} is of a method that E3 does not read")


def _of_key(did: str) -> Document:
    text = did.removeprefix("did:key:")
    key = from_multikey(text)
    own = (DocumentKey(id=f"{did}#{text}", key=key),)
    if isinstance(key, X25519PublicKey):
        return Document(did=did, agreement=own)
    if not isinstance(key, Ed25519PublicKey):
        return Document(did=did, authentication=own, agreement=own)
    derived = agreement_key(key)
    agreed = DocumentKey(id=f"{did}#{multikey(derived)}", key=derived)
    return Document(did=did, authentication=own, agreement=(agreed,))


def _of_peer(did: str, read: Any) -> Document:  # noqa: ANN401 - of a library without types
    try:
        written = json.dumps(read(did))
    # what the libraries raise of content that is no document, besides their own ValueError
    except (ValueError, TypeError, AttributeError, AssertionError, LookupError, RecursionError):
        raise DidcommError(f"{printable(did, 80)} does not have a document in it") from None
    return document(did, written.encode())


def document(did: str, content: bytes) -> Document:
    """Return the document of ``did`` from its JSON."""
    if len(content) > DOCUMENT_BYTES:
        raise DidcommError(f"the document of {printable(did, 80)} is over {DOCUMENT_BYTES} bytes")
    try:
        read = msgspec.json.decode(content, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DidcommError(
            f"the document of {printable(did, 80)} cannot be read: {printable(error)}"
        ) from None
    if read.id != did:
        raise DidcommError(
            f"the document of {printable(did, 80)} names another DID, {printable(read.id, 80)}"
        )
    services = read.service if isinstance(read.service, list) else [read.service]
    entries = (*read.verification_method, *read.authentication, *read.key_agreement)
    if len(entries) > MOST_KEYS or len(services) > MOST_SERVICES:
        raise DidcommError(
            f"the document of {printable(did, 80)} has over {MOST_KEYS} keys or "
            f"{MOST_SERVICES} services"
        )
    methods = {_absolute(did, each.id): each for each in read.verification_method}
    offered = tuple(found for each in services for found in _services(each))
    if len(offered) > MOST_SERVICES or any(len(it.routing_keys) > MOST_ROUTES for it in offered):
        raise DidcommError(
            f"the document of {printable(did, 80)} has over {MOST_SERVICES} places for messages, "
            f"or over {MOST_ROUTES} routing keys for one"
        )
    return Document(
        did=did,
        authentication=_keys(did, methods, read.authentication),
        agreement=_keys(did, methods, read.key_agreement),
        services=offered,
    )


def _keys(
    did: str, methods: dict[str, _Method], entries: Sequence[str | _Method]
) -> tuple[DocumentKey, ...]:
    """Return the keys of a relationship; leave out those of kinds that E3 does not use."""
    found = []
    for entry in entries:
        name = _absolute(did, entry if isinstance(entry, str) else entry.id)
        method = methods.get(name) if isinstance(entry, str) else entry
        # a key of another DID's document is not looked up: it could change
        if method is not None and name.startswith(f"{did}#"):
            try:
                found.append(DocumentKey(id=name, key=_public(method)))
            except DidcommError:
                continue
    return tuple(found)


def _public(method: _Method) -> PublicKey:
    if method.public_key_multibase is not None:
        return from_multikey(method.public_key_multibase)
    if method.public_key_jwk is not None:
        return from_jwk(method.public_key_jwk)
    raw = from_base58(method.public_key_base58 or "")
    try:
        if method.type == "Ed25519VerificationKey2018":
            return Ed25519PublicKey.from_public_bytes(raw)
        if method.type == "X25519KeyAgreementKey2019":
            return X25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise DidcommError("a key in base58 is no point of its curve") from None
    raise DidcommError(f"a key of kind {printable(method.type)} is none that E3 uses")


def _services(service: _Service) -> list[Service]:
    types = service.type if isinstance(service.type, list) else [service.type]
    if DIDCOMM not in types:
        return []
    listed = service.service_endpoint
    endpoints = listed if isinstance(listed, list) else [listed]
    found = []
    for each in endpoints:
        # the form of DIDComm's drafts has routing keys beside the endpoint
        endpoint = _Endpoint(uri=each, accept=service.accept) if isinstance(each, str) else each
        keys = endpoint.routing_keys or service.routing_keys
        if endpoint.accept is None or PROFILE in endpoint.accept:
            found.append(Service(uri=endpoint.uri, routing_keys=tuple(keys)))
    return found


def _absolute(did: str, name: str) -> str:
    return f"{did}{name}" if name.startswith("#") else name
