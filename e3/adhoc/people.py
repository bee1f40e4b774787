"""The user's own lasting identity, and the names that they gave to others.

Both are in a folder that only the user can read. A DID that the user has given a name is *known*;
for any other one there are words to compare by voice.
"""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from mnemonic import Mnemonic
from msgspec import Meta, Struct

from e3 import private
from e3.didcomm import did as dids
from e3.didcomm.did import DIDCOMM, PROFILE, key_did
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url, multikey, unbase64
from e3.remote.text import printable

WORDS = 8
"""Of 2,048 each: 88 bits of the SHA-256 of a DID."""

MOST_KNOWN = 10_000
NAME_LENGTH = 64

Name = Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH)]


class _Stored(Struct):
    key: Annotated[str, Meta(min_length=43, max_length=43)]
    name: Name
    did: str = ""


@dataclass(frozen=True, kw_only=True)
class Self:
    """The user: ``did`` is a did:key of the key, or a did:web whose document lists it."""

    did: str
    name: str
    key: Ed25519PrivateKey = field(repr=False)


@dataclass(frozen=True)
class People:
    """What is kept in ``folder``."""

    folder: Path

    @classmethod
    def of_user(cls) -> "People":
        """Return those of this user; the folder may not exist yet."""
        return cls(private.user_folder())

    @property
    def sessions(self) -> Path:
        """Where the evidence of this user's sessions goes."""
        return self.folder / "sessions"

    def self(self, *, name: str = "", did: str = "") -> Self:
        """Return the user; make the identity if there is none, and change what is given."""
        stored = self._stored()
        if name:
            check_name(name)
        if stored is None:
            seed = Ed25519PrivateKey.generate().private_bytes(
                Encoding.Raw, PrivateFormat.Raw, NoEncryption()
            )
            stored = _Stored(key=base64url(seed), name=name or _login())
            self._write("identity.json", stored)
        if (name and name != stored.name) or (did and did != stored.did):
            stored = _Stored(key=stored.key, name=name or stored.name, did=did or stored.did)
            self._write("identity.json", stored)
        key = Ed25519PrivateKey.from_private_bytes(unbase64(stored.key))
        return Self(did=stored.did or key_did(key.public_key()), name=stored.name, key=key)

    def known(self) -> dict[str, str]:
        """Return the names that the user gave, by DID."""
        try:
            content = (self.folder / "known.json").read_bytes()
        except FileNotFoundError:
            return {}
        try:
            return msgspec.json.decode(content, type=dict[str, Name])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise DidcommError(
                f"{self.folder / 'known.json'} is damaged; restore or remove it"
            ) from None

    def remember(self, did: str, name: str) -> None:
        """Give a DID a name; raise `DidcommError` if another DID has it."""
        known = self.known()
        check_name(name)
        for other, theirs in known.items():
            if theirs.casefold() == name.casefold() and other != did:
                raise DidcommError(
                    f"{printable(name)} is already somebody else ({printable(other, 60)}); choose "
                    "another name"
                )
        if len(known) >= MOST_KNOWN:
            raise DidcommError(f"{MOST_KNOWN} DIDs are known already; forget one")
        self._write("known.json", {**known, dids.syntax(did): name})

    def forget(self, name: str) -> str:
        """Forget whoever has this name; return their DID."""
        known = self.known()
        did = next((each for each, theirs in known.items() if theirs == name), None)
        if did is None:
            raise DidcommError(f"nobody is known as {printable(name)}; see `e3 id`")
        self._write("known.json", {each: it for each, it in known.items() if each != did})
        return did

    def _stored(self) -> _Stored | None:
        path = self.folder / "identity.json"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(content, type=_Stored)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise DidcommError(f"{path} is damaged; restore it from a copy") from None

    def _write(self, name: str, content: object) -> None:
        private.folder(self.folder)
        private.write(self.folder / name, msgspec.json.format(msgspec.json.encode(content)))


def check_name(name: str) -> None:
    """Raise `DidcommError` for what cannot be a name."""
    if not 1 <= len(name) <= NAME_LENGTH or not name.isprintable():
        raise DidcommError(f"a name has 1 to {NAME_LENGTH} printable characters")


def pseudonym(name: str) -> Self:
    """Return an identity that is not kept; raise `DidcommError` for a name that cannot be one."""
    check_name(name)
    key = Ed25519PrivateKey.generate()
    return Self(did=key_did(key.public_key()), name=name, key=key)


def words(did: str) -> str:
    """Return the words of a DID, to be compared by voice: those of BIP 39."""
    number = int.from_bytes(hashlib.sha256(did.encode()).digest())
    listed = Mnemonic("english").wordlist
    return " ".join(listed[number >> (11 * place) & 2047] for place in range(WORDS))


def web_document(me: Self, did: str, inbox: str = "") -> bytes:
    """Return the document to publish for a did:web of the user's key.

    It names the DID of an ``inbox``, if there is one, as the place of messages.
    """
    key = multikey(me.key.public_key())
    method = {"id": f"{did}#e3", "type": "Multikey", "controller": did, "publicKeyMultibase": key}
    content: dict[str, object] = {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "verificationMethod": [method],
        "authentication": [f"{did}#e3"],
    }
    if inbox:
        endpoint = {"uri": inbox, "accept": [PROFILE]}
        service = {"id": f"{did}#inbox", "type": DIDCOMM, "serviceEndpoint": endpoint}
        content["service"] = [service]
    return msgspec.json.format(msgspec.json.encode(content)) + b"\n"


def _login() -> str:
    """Return how the user is called on this machine."""
    name = os.environ.get("USER") or os.environ.get("USERNAME") or "somebody"
    return printable(name, NAME_LENGTH - 3)
