"""``e3 invite``: invite others to compute something together, each on their own machine."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from e3.cli import adhoc_options
from e3.cli.project import Verbs
from e3.errors import ConfigurationError

if TYPE_CHECKING:
    from e3.adhoc.flows import Setting
    from e3.session.results import SessionResult

FEWEST_PARTIES, MOST_PARTIES = 2, 16


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "invite",
        help="compute with others who each have a machine of their own",
        usage="e3 invite PROGRAM --parties N [--mediator URL] [--args TEXT] [--note TEXT] "
        "[--entry FILE] [--name NAME | --pseudonym NAME] [--input PATH] [--deadline SECONDS] "
        "[--minutes N] [--board TOPIC] [--require 'CLAIM=VALUE by DID']... [--revocations FILE] "
        "[--credential FILE]... [--stun HOST:PORT]... [--relay-only] [--yes] [--json] "
        "[-- PRIVATE...]",
        description="Print a link by which others join, wait for them, and compute. Nobody "
        "deploys: each party's own E3 watches its own program. What follows -- is for your "
        "party alone, and never leaves this machine.",
    )
    verb.add_argument("program", metavar="PROGRAM", help="a Python file, a notebook or a folder")
    verb.add_argument("--parties", metavar="N", type=int, required=True, help="with you")
    verb.add_argument("--entry", metavar="FILE", default="", help="the file of a folder to run")
    verb.add_argument("--args", metavar="TEXT", dest="public", default="", help="for all parties")
    verb.add_argument("--note", metavar="TEXT", default="", help="what the others are told")
    verb.add_argument("--deadline", metavar="SECONDS", type=float, default=600.0)
    verb.add_argument(
        "--minutes", metavar="N", type=int, default=60, help="how long the link is valid"
    )
    verb.add_argument(
        "--board", metavar="TOPIC", help="also post the link on the mediator's board: `e3 board`"
    )
    verb.add_argument(
        "--require",
        metavar="'CLAIM=VALUE by DID'",
        action="append",
        default=[],
        help="a credential that every party shows, you as well, and every party verifies",
    )
    verb.add_argument(
        "--revocations",
        metavar="FILE",
        help="the list of revoked credentials of whoever issues those that are required (JWT)",
    )
    verb.add_argument("--mediator", metavar="URL", help="default: E3_MEDIATOR")
    adhoc_options.declare(verb)
    verb.set_defaults(do=invite)


def invite(arguments: argparse.Namespace) -> int:
    """Invite; return the exit status of the session's verdict."""
    from e3.adhoc import flows, programs  # noqa: PLC0415 - slow to load
    from e3.adhoc.admission import requirement  # noqa: PLC0415
    from e3.adhoc.room import require  # noqa: PLC0415
    from e3.cli import adhoc  # noqa: PLC0415
    from e3.session.programs import load  # noqa: PLC0415

    if not FEWEST_PARTIES <= arguments.parties <= MOST_PARTIES:
        raise ConfigurationError(
            f"--parties: {arguments.parties}; choose {FEWEST_PARTIES} to {MOST_PARTIES}"
        )
    if not 1 <= arguments.minutes <= 7 * 24 * 60:
        raise ConfigurationError(f"--minutes: {arguments.minutes}; choose 1 to a week's 10080")
    if not 1 <= arguments.deadline <= 7 * 86_400:
        raise ConfigurationError(f"--deadline: {arguments.deadline:g}; choose 1 s to a week")
    require()
    mediator = adhoc.chosen_mediator(arguments.mediator)
    path = Path(arguments.cwd, arguments.program)
    program = load(path, shlex.split(arguments.public), arguments.entry)
    revocations = ""
    if arguments.revocations is not None:
        revocations = adhoc.text_file("--revocations", arguments, arguments.revocations)
    proposal = programs.propose(
        program,
        parties=arguments.parties,
        deadline_seconds=arguments.deadline,
        note=arguments.note[:1000],
        requires=tuple(requirement(each, revocations) for each in arguments.require),
    )
    own = adhoc.own(arguments, program, arguments.deadline)

    async def flow(setting: "Setting") -> "SessionResult":
        return await flows.invite(setting, proposal, own, arguments.minutes * 60)

    return adhoc.run(arguments, mediator, flow)
