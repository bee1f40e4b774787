"""Print the invitations of a network's seats, by the name of their hosts; by its convener.

They follow from a secret of the convener, so that they are the same each time.
"""

import hashlib
import json
import sys
from pathlib import Path

import msgspec

from e3.agents.prepare import DIDS, SECRET
from e3.agents.settings import Invited
from e3.didcomm.network.convener import token
from e3.didcomm.network.invitation import Invitation, link


def network_of(did: str) -> str:
    """Return the name of the network that an agent convenes."""
    return hashlib.sha256(b"e3-network/1.0 " + did.encode()).hexdigest()


def secret_in(secrets: Path) -> bytes:
    """Return the secret from which a convener's tokens follow."""
    return bytes.fromhex((secrets / SECRET).read_text())


def main(secrets: Path, configuration: Path) -> None:
    """Read the seats from standard input."""
    del configuration
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Invited)
    did, secret = json.loads((secrets / DIDS).read_text())["agent"], secret_in(secrets)
    links = {
        seat.name: link(
            Invitation(
                network=network_of(did),
                convener=did,
                token=token(secret, seat),
                name=seat.name,
                address=f"{seat.address}/{asked.prefix}",
                mediators=asked.mediators,
            )
        )
        for seat in asked.seats
    }
    sys.stdout.write(json.dumps(links))
