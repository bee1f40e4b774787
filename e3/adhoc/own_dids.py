"""DIDs of this user that last and take messages: that of their mediator, and that of their inbox.

The keys of each are made once, and kept in a file that only the user can read.
"""

from collections.abc import Sequence

from e3.adhoc.people import People
from e3.didcomm.connection import Mediation
from e3.didcomm.identity_file import identity_in
from e3.didcomm.messages import Identity

MEDIATOR, INBOX = "mediator.json", "inbox.json"


def mediator_identity() -> Identity:
    """Return the mediator's identity; a restarted mediator keeps it, so parties find it again."""
    return identity_in(People.of_user().folder / MEDIATOR)


def inbox_identity(mediations: Sequence[Mediation]) -> Identity:
    """Return the identity of the user's inbox at these mediators: other ones give another DID."""
    return identity_in(People.of_user().folder / INBOX, [each.service for each in mediations])
