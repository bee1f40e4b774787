"""``e3 nearby``: invitations that are announced on the local network."""

import argparse
import asyncio

from e3.cli import terminal
from e3.cli.place import Verbs
from e3.errors import ConfigurationError

MOST_SECONDS = 60.0


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "nearby",
        help="find sessions of people on the same network",
        description="List the invitations that are announced on the local network, which "
        "`e3 invite --nearby` does while it waits. Anybody there can announce one.",
    )
    verb.add_argument(
        "--seconds", metavar="N", type=float, default=2.0, help="how long to listen; default: 2"
    )
    terminal.offer_json(verb, "the invitations")
    verb.set_defaults(do=show)


def show(arguments: argparse.Namespace) -> int:
    """Print what is announced."""
    from e3.adhoc import nearby  # noqa: PLC0415 - slow to load
    from e3.cli import offers  # noqa: PLC0415
    from e3.didcomm.session import invitation as invitations  # noqa: PLC0415

    if not 0 < arguments.seconds <= MOST_SECONDS:
        raise ConfigurationError(
            f"--seconds: {arguments.seconds:g}; choose more than 0, and {MOST_SECONDS:g} at most"
        )
    found = asyncio.run(nearby.found(arguments.seconds))
    offered = [offers.Offered(invitation=each, link=invitations.link(each)) for each in found]
    nobody = "nobody nearby looks for parties; announce by `e3 invite ... --nearby`"
    offers.show(offered, as_json=arguments.json, nobody=nobody)
    return 0
