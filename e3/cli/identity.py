"""``e3 id``: the user's own identity for sessions without a deployer, and whom they know."""

import argparse
import asyncio
import sys

from e3.cli import terminal
from e3.cli.place import Verbs


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "id",
        help="show your identity, and name people you know",
        description="Show your DID, by which others recognise you in every session, and the words "
        "of it to read aloud. The first call makes it; its key stays in your home folder.",
    )
    verb.add_argument("--name", metavar="NAME", help="what you call yourself")
    verb.add_argument(
        "--did", metavar="DID", help="your DID of a domain, did:web:example.org, for the same key"
    )
    verb.add_argument(
        "--document",
        action="store_true",
        help="print the document to publish for --did, as /.well-known/did.json of the domain",
    )
    verb.add_argument(
        "--mediator",
        metavar="URL",
        help="for --document: name an inbox at this mediator, where `e3 inbox` takes invitations",
    )
    verb.add_argument(
        "--know", nargs=2, metavar=("DID", "NAME"), help="give somebody a name, once you are sure"
    )
    verb.add_argument("--forget", metavar="NAME", help="forget somebody")
    terminal.offer_json(verb, "DID, words and names")
    verb.set_defaults(do=show)


def show(arguments: argparse.Namespace) -> int:
    """Change what is asked for, and print the identity."""
    from e3.adhoc.people import People, web_document, words  # noqa: PLC0415 - slow to load
    from e3.didcomm import web_did  # noqa: PLC0415

    people = People.of_user()
    if arguments.did is not None and arguments.did.startswith("did:web:"):
        web_did.url(arguments.did)  # refuses what is no domain
    me = people.self(name=arguments.name or "", did=arguments.did or "")
    if arguments.know is not None:
        people.remember(*arguments.know)
    if arguments.forget is not None:
        people.forget(arguments.forget)
    if arguments.document:
        inbox = asyncio.run(inbox_at(arguments.mediator)) if arguments.mediator else ""
        sys.stdout.write(web_document(me, me.did, inbox).decode())
        return 0
    known = sorted(people.known().items(), key=lambda each: each[1].casefold())
    if arguments.json:
        listed = [{"did": did, "name": name} for did, name in known]
        terminal.say_json({"did": me.did, "name": me.name, "words": words(me.did), "known": listed})
        return 0
    terminal.show([("name", me.name), ("did", me.did), ("words", words(me.did))])
    if known:
        terminal.say("")
        terminal.show([(name, words(did), did) for did, name in known], header=("you know",))
    return 0


async def inbox_at(mediator: str) -> str:
    """Return the DID of the user's inbox at a mediator; raise `DidcommError` if none is there."""
    from e3.adhoc.own_dids import inbox_identity  # noqa: PLC0415 - slow to load
    from e3.cli import adhoc  # noqa: PLC0415
    from e3.didcomm.mailbox import opened  # noqa: PLC0415

    async with opened(adhoc.chosen_mediator(mediator), identity=inbox_identity) as box:
        return box.identity.did
