"""The identity of this user's mediator: made once, kept in a file that only the user can read."""

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Struct

from e3 import private
from e3.adhoc.people import People
from e3.didcomm import did as dids
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url, unbase64
from e3.didcomm.messages import Identity

FILE = "mediator.json"


class _Stored(Struct):
    agreement: str
    signing: str


def identity() -> Identity:
    """Return the mediator's identity; a restarted mediator keeps it, so parties find it again."""
    folder = People.of_user().folder
    path = folder / FILE
    try:
        stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
        agreement = X25519PrivateKey.from_private_bytes(unbase64(stored.agreement))
        signing = Ed25519PrivateKey.from_private_bytes(unbase64(stored.signing))
    except FileNotFoundError:
        made = Identity.make()
        keys = {
            "agreement": base64url(made.agreement.private_bytes_raw()),
            "signing": base64url(made.signing.private_bytes_raw()),
        }
        private.write(private.folder(folder) / FILE, msgspec.json.encode(keys))
        return made
    except (ValueError, DidcommError):
        raise DidcommError(
            f"{path} is damaged; remove it, and the mediator gets a new DID"
        ) from None
    did = dids.peer_did(agreement.public_key(), signing.public_key(), [])
    return Identity(did=did, agreement=agreement, signing=signing)
