"""``e3 join``: accept an invitation to compute something together."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from e3.cli import adhoc_options
from e3.cli.project import Verbs
from e3.errors import ConfigurationError
from e3.remote.text import printable

if TYPE_CHECKING:
    from e3.adhoc.conduct import Own
    from e3.adhoc.flows import Setting
    from e3.experiment import Program
    from e3.session.results import SessionResult

LINK_BYTES = 16_384


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "join",
        help="accept an invitation",
        usage="e3 join LINK [--name NAME | --pseudonym NAME] [--input PATH] "
        "[--credential FILE]... [--stun HOST:PORT]... [--relay-only] [--yes] [--json] "
        "[-- PRIVATE...]",
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

    require()
    invitation = invitations.read(text_of(arguments.link, arguments.cwd))
    if not adhoc.is_url(invitation.mediator):
        raise ConfigurationError(
            f"the link has mediator {printable(invitation.mediator)}, which is not a URL; ask for "
            "another link"
        )

    def own(program: "Program", deadline_seconds: float) -> "Own":
        return adhoc.own(arguments, program, deadline_seconds)

    async def flow(setting: "Setting") -> "SessionResult":
        return await flows.join(setting, invitation, own)

    return adhoc.run(arguments, invitation.mediator, flow)


def text_of(link: str, cwd: str) -> str:
    """Return the link, which may be in a file."""
    path = Path(cwd, link)
    if "#" in link or not os.path.isfile(path):  # noqa: PTH113 - false as well for a long text
        return link
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(LINK_BYTES)
