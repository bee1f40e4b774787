"""``e3 board``: invitations on a mediator's board, for people who do not know one another."""

import argparse
import asyncio
import shlex

from e3.cli import terminal
from e3.cli.project import Verbs
from e3.remote.text import printable


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "board",
        help="find sessions that look for parties",
        description="List the invitations on a mediator's board, which `e3 invite --board TOPIC` "
        "posts: for people who do not know one another.",
    )
    verb.add_argument("topic", metavar="TOPIC", nargs="?", default="", help="default: all")
    verb.add_argument("--mediator", metavar="URL", help="default: E3_MEDIATOR")
    terminal.offer_json(verb, "the invitations")
    verb.set_defaults(do=show)


def show(arguments: argparse.Namespace) -> int:
    """Print the board."""
    from e3.adhoc import board  # noqa: PLC0415 - slow to load
    from e3.cli import adhoc  # noqa: PLC0415
    from e3.didcomm.mailbox import opened  # noqa: PLC0415

    mediator = adhoc.chosen_mediator(arguments.mediator)

    async def ask() -> list[dict[str, object]]:
        async with opened(mediator) as box:
            return [
                {
                    "topic": topic,
                    "program": invitation.program,
                    "parties": invitation.parties,
                    "name": invitation.name,
                    "did": invitation.identity,
                    "digest": invitation.digest,
                    "expires": invitation.expires,
                    "link": link,
                }
                for topic, link, invitation in await board.posts(box, arguments.topic)
            ]

    found = asyncio.run(ask())
    if arguments.json:
        terminal.say_json(found)
        return 0
    for each in found:
        terminal.say(
            f"{printable(each['topic'])}: {printable(each['name'], 64)} looks for "
            f"{int(str(each['parties'])) - 1} others to compute {printable(each['program'], 64)}"
        )
        terminal.say(f"  e3 join {shlex.quote(str(each['link']))}")
    if not found:
        terminal.say("nobody looks for parties there; post by `e3 invite ... --board TOPIC`")
    return 0
