"""Print invitations for people who do not know one another: from a board, or from nearby."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from e3.cli import terminal
from e3.didcomm.session.invitation import Invitation
from e3.remote.text import printable


@dataclass(frozen=True, kw_only=True)
class Offered:
    """An invitation with its link; ``topic`` is that of a board."""

    invitation: Invitation
    link: str
    topic: str = ""

    def to_properties(self) -> dict[str, object]:
        """Return it as JSON has it."""
        invitation = self.invitation
        return {
            **({"topic": self.topic} if self.topic else {}),
            "program": invitation.program,
            "parties": invitation.parties,
            "name": invitation.name,
            "did": invitation.identity,
            "digest": invitation.digest,
            "expires": invitation.expires,
            "link": self.link,
        }


def show(found: Sequence[Offered], *, as_json: bool, nobody: str) -> None:
    """Print the invitations, or ``nobody`` if there are none."""
    if as_json:
        terminal.say_json([each.to_properties() for each in found])
        return
    for each in found:
        invitation = each.invitation
        others = invitation.parties - 1
        terminal.say(
            f"{f'{printable(each.topic)}: ' if each.topic else ''}{printable(invitation.name, 64)} "
            f"looks for {others} other{'s' if others > 1 else ''} to compute "
            f"{printable(invitation.program, 64)}"
        )
        terminal.say(f"  e3 join {shlex.quote(each.link)}")
    if not found:
        terminal.say(nobody)
