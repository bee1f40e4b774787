"""An identity that is made once and kept in a file that only its owner can read."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Struct

from e3 import private
from e3.didcomm import did as dids
from e3.didcomm.did import Service
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url, unbase64
from e3.didcomm.messages import Identity


class _Stored(Struct):
    agreement: str
    signing: str


def identity_in(path: Path, services: Sequence[Service] = ()) -> Identity:
    """Return the identity in a file, a did:peer:2 of these services; make its keys if need be.

    Other services give another DID. Raises `DidcommError` if the file is damaged.
    """
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
        agreement = X25519PrivateKey.from_private_bytes(unbase64(stored.agreement))
        signing = Ed25519PrivateKey.from_private_bytes(unbase64(stored.signing))
    except FileNotFoundError:
        agreement, signing = X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        keys = _Stored(
            agreement=base64url(agreement.private_bytes_raw()),
            signing=base64url(signing.private_bytes_raw()),
        )
        private.folder(path.parent)
        private.write(path, msgspec.json.encode(keys))
    except (ValueError, DidcommError):
        raise DidcommError(f"{path} is damaged; remove it, and there is a new DID") from None
    did = dids.peer_did(agreement.public_key(), signing.public_key(), services)
    return Identity(did=did, agreement=agreement, signing=signing)
