"""Proofs that whoever has a lasting DID takes part in a session by a DID of that session.

A proof is a signature over the session's id and both DIDs. So nobody can use it in another
session, or with a DID of their own.
"""

import hmac
import json
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from e3.didcomm import envelope
from e3.didcomm.did import Document
from e3.didcomm.errors import DidcommError
from e3.remote.text import printable

PURPOSE = "e3-session/1.0"

Admit = Callable[[str, Sequence[str]], None]
"""Raises `DidcommError` unless the credentials of a lasting DID admit it to a session."""


def anyone(identity: str, credentials: Sequence[str]) -> None:
    """Admit whoever has a seat."""
    del identity, credentials


def prove(sid: str, did: str, identity: Document, key: Ed25519PrivateKey) -> str:
    """Return the proof that ``identity``, whose key is given, is ``did`` in session ``sid``."""
    kid = next((each.id for each in identity.authentication if each.key == key.public_key()), None)
    if kid is None:
        raise DidcommError(f"{printable(identity.did, 80)} does not list our key; correct that")
    return envelope.sign(_statement(sid, did, identity.did), kid, key).decode()


def check(
    proof: str, sid: str, did: str, identity: str, resolve: Callable[[str], Document]
) -> None:
    """Raise `DidcommError` unless the proof is of this identity, DID and session."""
    verified = envelope.verify(proof.encode(), resolve)
    signers = {kid.partition("#")[0] for kid in verified.kids}
    expected = _statement(sid, did, identity)
    if signers != {identity} or not hmac.compare_digest(verified.content, expected):
        raise DidcommError(f"the proof of {printable(identity, 80)} is for something else")


def _statement(sid: str, did: str, identity: str) -> bytes:
    stated = {"purpose": PURPOSE, "session": sid, "did": did, "identity": identity}
    return json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()
