"""``e3 invite``: invite others to compute something together, each on their own machine."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from e3.cli import adhoc_options
from e3.cli.place import Verbs
from e3.errors import ConfigurationError

if TYPE_CHECKING:
    from e3.adhoc.setting import Own, Setting
    from e3.experiment import Program
    from e3.session.results import SessionResult

FEWEST_PARTIES, MOST_PARTIES, MOST_ROUNDS = 2, 16, 1000


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "invite",
        help="compute with others who each have a machine of their own",
        usage="e3 invite --resume [-- PRIVATE...]\n"
        "       e3 invite PROGRAM --parties N [--mediator URL] [--args TEXT] [--note TEXT] "
        "[--entry FILE] [--name NAME | --pseudonym NAME] [--input PATH] [--deadline SECONDS] "
        "[--minutes N] [--rounds N] [--with WHO]... [--nearby] [--board TOPIC] "
        "[--require 'CLAIM=VALUE by DID']... [--revocations FILE] [--credential FILE]... "
        "[--stun HOST:PORT]... [--relay-only | --proxy URL] [--yes] [--json] [-- PRIVATE...]",
        description="Print a link by which others join, wait for them, and compute. Nobody "
        "deploys: each party's own E3 watches its own program. What follows -- is for your "
        "party alone, and never leaves this machine.",
    )
    verb.add_argument(
        "program", metavar="PROGRAM", nargs="?", help="a Python file, a notebook or a folder"
    )
    verb.add_argument("--parties", metavar="N", type=int, default=0, help="with you")
    verb.add_argument(
        "--resume",
        action="store_true",
        help="go on with an invitation of yours that was killed; who had come need do nothing",
    )
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
        "--nearby",
        action="store_true",
        help="also announce the link on the local network: `e3 nearby`",
    )
    verb.add_argument(
        "--rounds",
        metavar="N",
        type=int,
        default=1,
        help="offer up to N rounds with the same people: one key after each",
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
    verb.add_argument(
        "--mediator",
        metavar="URL",
        help="or two, with a space between, of which one may fail; default: E3_MEDIATOR",
    )
    adhoc_options.declare(verb)
    verb.set_defaults(do=invite)


def invite(arguments: argparse.Namespace) -> int:
    """Invite; return the exit status of the session's verdict."""
    from e3.adhoc import flows, programs  # noqa: PLC0415 - slow to load
    from e3.adhoc.admission import requirement  # noqa: PLC0415
    from e3.adhoc.room import require  # noqa: PLC0415
    from e3.cli import adhoc  # noqa: PLC0415
    from e3.session.programs import load  # noqa: PLC0415

    if arguments.resume:
        return resume(arguments)
    if arguments.program is None:
        raise ConfigurationError("PROGRAM: say what to compute, or --resume")
    if not FEWEST_PARTIES <= arguments.parties <= MOST_PARTIES:
        raise ConfigurationError(
            f"--parties: {arguments.parties}; choose {FEWEST_PARTIES} to {MOST_PARTIES}"
        )
    if not 1 <= arguments.minutes <= 7 * 24 * 60:
        raise ConfigurationError(f"--minutes: {arguments.minutes}; choose 1 to a week's 10080")
    if not 1 <= arguments.deadline <= 7 * 86_400:
        raise ConfigurationError(f"--deadline: {arguments.deadline:g}; choose 1 s to a week")
    if not 1 <= arguments.rounds <= MOST_ROUNDS:
        raise ConfigurationError(f"--rounds: {arguments.rounds}; choose 1 to {MOST_ROUNDS}")
    if len(arguments.expected) > arguments.parties - 1:
        raise ConfigurationError(
            f"--with: {len(arguments.expected)} others, but --parties {arguments.parties} has "
            f"{arguments.parties - 1} besides you"
        )
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
        rounds=arguments.rounds,
    )
    own = adhoc.own(arguments, program, arguments.deadline)

    async def flow(setting: "Setting") -> "SessionResult":
        return await flows.invite(setting, proposal, own, arguments.minutes * 60)

    return adhoc.run(arguments, mediator, flow)


def resume(arguments: argparse.Namespace) -> int:
    """Go on with an invitation that was interrupted; return the status of the verdict."""
    from e3 import private  # noqa: PLC0415 - as above
    from e3.adhoc import flows, kept  # noqa: PLC0415
    from e3.adhoc.room import require  # noqa: PLC0415
    from e3.cli import adhoc  # noqa: PLC0415

    if arguments.program is not None:
        raise ConfigurationError(f"--resume: it has a program; leave {arguments.program} out")
    require()
    keeper = kept.take(private.user_folder())

    def own(program: "Program", deadline_seconds: float) -> "Own":
        return adhoc.own(arguments, program, deadline_seconds)

    async def flow(setting: "Setting") -> "SessionResult":
        return await flows.resume(setting, keeper, own)

    return adhoc.run(arguments, keeper.last.invitation.mediators, flow)
