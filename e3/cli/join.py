"""``e3 join``: accept an invitation to compute something together."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from e3.cli import adhoc_options, terminal
from e3.cli.place import Verbs
from e3.errors import ConfigurationError, PlatformError
from e3.remote.text import printable

if TYPE_CHECKING:
    from e3.adhoc.setting import Own, Setting
    from e3.didcomm.session.invitation import Invitation
    from e3.experiment import Program
    from e3.session.results import SessionResult

LINK_BYTES = 16_384


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "join",
        help="accept an invitation",
        usage="e3 join LINK [--name NAME | --pseudonym NAME] [--input PATH] "
        "[--credential FILE]... [--with WHO] [--stun HOST:PORT]... "
        "[--relay-only | --proxy URL] [--yes] [--json] [-- PRIVATE...]",
        description="Show who invites to what, ask you, and compute with the others. What "
        "follows -- is for your party alone, and never leaves this machine.",
    )
    verb.add_argument("link", metavar="LINK", help="the invitation, or a file that has it")
    adhoc_options.declare(verb)
    verb.set_defaults(do=join)


def join(arguments: argparse.Namespace) -> int:
    """Join; return the exit status of the session's verdict."""
    from e3.adhoc import flows  # noqa: PLC0415 - slow to load
    from e3.adhoc.room import require  # noqa: PLC0415
    from e3.cli import adhoc  # noqa: PLC0415
    from e3.didcomm.session import invitation as invitations  # noqa: PLC0415

    invitation = invitations.read(text_of(arguments.link, arguments.cwd))
    try:
        require()
    except PlatformError:
        tell(invitation)
        raise
    require_urls(invitation)

    def own(program: "Program", deadline_seconds: float) -> "Own":
        return adhoc.own(arguments, program, deadline_seconds)

    async def flow(setting: "Setting") -> "SessionResult":
        return await flows.join(setting, invitation, own)

    return adhoc.run(arguments, invitation.mediators, flow)


def tell(invitation: "Invitation") -> None:
    """Print what an invitation says, where nobody can be asked and nothing can run."""
    terminal.say(
        f"{printable(invitation.name, 64)} ({printable(invitation.identity, 100)}) invites "
        f"{invitation.parties - 1} others to compute {printable(invitation.program, 64)}"
    )
    terminal.say(f"  digest    {invitation.digest}")
    for each in invitation.requires:
        what = printable(f"{each.claim}={each.value}")
        terminal.say(f"  required  of every party: {what} by {printable(each.issuer, 100)}")


def require_urls(invitation: "Invitation") -> None:
    """Raise `ConfigurationError` unless the mediators of an invitation can be called."""
    from e3.cli import adhoc  # noqa: PLC0415 - slow to load

    for each in invitation.mediators.split():
        if not adhoc.is_url(each):
            raise ConfigurationError(
                f"the link has mediator {printable(each)}, which is not a URL; ask for another link"
            )


def text_of(link: str, cwd: str) -> str:
    """Return the link, which may be in a file."""
    path = Path(cwd, link)
    if "#" in link or not os.path.isfile(path):  # noqa: PTH113 - false as well for a long text
        return link
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(LINK_BYTES)
