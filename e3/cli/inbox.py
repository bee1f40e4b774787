"""``e3 inbox``: wait for invitations that are sent to your domain, and join."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from e3.cli import adhoc_options
from e3.cli.place import Verbs

if TYPE_CHECKING:
    from e3.adhoc.setting import Own, Setting
    from e3.didcomm.session.invitation import Invitation
    from e3.experiment import Program
    from e3.session.results import SessionResult


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "inbox",
        help="wait for invitations to your domain",
        usage="e3 inbox [--mediator URL] [--input PATH] [--credential FILE]... [--with WHO]... "
        "[--stun HOST:PORT]... [--relay-only | --proxy URL] [--yes] [--json] [-- PRIVATE...]",
        description="Wait at the inbox that the document of your domain names (`e3 id --document "
        "--mediator URL`) for an invitation by `e3 invite --with YOUR.DOMAIN`, and join it as "
        "`e3 join` does. With --yes, join whom you know without a question, and nobody else. It "
        "ends with the first session that was computed.",
    )
    verb.add_argument("--mediator", metavar="URL", help="default: E3_MEDIATOR")
    adhoc_options.declare(verb)
    verb.set_defaults(do=wait)


def wait(arguments: argparse.Namespace) -> int:
    """Wait for an invitation, and join; return the exit status of the session's verdict."""
    from e3.adhoc import inbox  # noqa: PLC0415 - slow to load
    from e3.adhoc.own_dids import inbox_identity  # noqa: PLC0415
    from e3.adhoc.room import require  # noqa: PLC0415
    from e3.cli import adhoc  # noqa: PLC0415
    from e3.didcomm.mailbox import opened  # noqa: PLC0415
    from e3.errors import E3Error, SessionError  # noqa: PLC0415

    require()

    def own(program: "Program", deadline_seconds: float) -> "Own":
        return adhoc.own(arguments, program, deadline_seconds)

    async def flow(setting: "Setting") -> "SessionResult":
        proxy = setting.reach.proxy
        async with opened(setting.mediator, proxy=proxy, identity=inbox_identity) as box:
            await inbox.require_named(setting.me.did, box.identity.did)
            setting.person.tell(f"waiting for invitations to {setting.me.did}")
            async for invitation in inbox.received(box):
                if arguments.yes and invitation.identity not in setting.people.known():
                    setting.person.tell(inbox.of_stranger(invitation))
                    continue
                try:
                    return await join(setting, invitation)
                except E3Error as error:
                    setting.person.tell(f"{error}; waiting for other invitations")
        raise SessionError("no invitation came")

    async def join(setting: "Setting", invitation: "Invitation") -> "SessionResult":
        from e3.adhoc import flows  # noqa: PLC0415
        from e3.cli.join import require_urls  # noqa: PLC0415

        require_urls(invitation)
        urls = invitation.mediators
        there = replace(setting, mediator=urls, reach=adhoc.reach(arguments, urls))
        return await flows.join(there, invitation, own)

    return adhoc.run(arguments, adhoc.chosen_mediator(arguments.mediator), flow)
