"""``e3 board``: invitations on a mediator's board, for people who do not know one another."""

import argparse
import asyncio

from e3.cli import terminal
from e3.cli.place import Verbs


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
    from e3.cli import adhoc, offers  # noqa: PLC0415
    from e3.didcomm.mailbox import opened  # noqa: PLC0415

    mediator = adhoc.chosen_mediator(arguments.mediator)

    async def ask() -> list[offers.Offered]:
        async with opened(mediator) as box:
            return [
                offers.Offered(invitation=invitation, link=link, topic=topic)
                for topic, link, invitation in await board.posts(box, arguments.topic)
            ]

    nobody = "nobody looks for parties there; post by `e3 invite ... --board TOPIC`"
    offers.show(asyncio.run(ask()), as_json=arguments.json, nobody=nobody)
    return 0
