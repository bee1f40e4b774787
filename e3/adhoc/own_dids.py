"""DIDs of this user that last and take messages: that of their mediator, and that of their inbox.

The keys of each are made once, and kept in a file that only the user can read.
"""

from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Struct

from e3 import private
from e3.adhoc.people import People
from e3.didcomm import did as dids
from e3.didcomm.connection import Mediation
from e3.didcomm.did import Service
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url, unbase64
from e3.didcomm.messages import Identity

MEDIATOR, INBOX = "mediator.json", "inbox.json"


class _Stored(Struct):
    agreement: str
    signing: str


def mediator_identity() -> Identity:
    """Return the mediator's identity; a restarted mediator keeps it, so parties find it again."""
    return _kept(MEDIATOR, [])


def inbox_identity(mediations: Sequence[Mediation]) -> Identity:
    """Return the identity of the user's inbox at these mediators: other ones give another DID."""
    return _kept(INBOX, [each.service for each in mediations])


def _kept(name: str, services: Sequence[Service]) -> Identity:
    """Return the identity in a file of the user's folder; make it if there is none."""
    folder = People.of_user().folder
    path = folder / name
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
        private.write(private.folder(folder) / name, msgspec.json.encode(keys))
    except (ValueError, DidcommError):
        raise DidcommError(f"{path} is damaged; remove it, and there is a new DID") from None
    did = dids.peer_did(agreement.public_key(), signing.public_key(), services)
    return Identity(did=did, agreement=agreement, signing=signing)
