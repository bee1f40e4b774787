"""Invitations that are sent: to companies, which can be called by the inbox of their domain.

The document of a did:web names the DID of an inbox as the place of its messages. Whoever has the
keys of the inbox waits there by `e3 inbox`; an invitation is a message that has the link.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated

from msgspec import Meta, Struct

from e3.didcomm import did as dids
from e3.didcomm import web_did
from e3.didcomm.did import Document
from e3.didcomm.errors import DidcommError
from e3.didcomm.mailbox import Mailbox
from e3.didcomm.messages import body_of
from e3.didcomm.resolver import WEB
from e3.didcomm.session import invitation as invitations
from e3.didcomm.session.invitation import LINK_LENGTH, Invitation
from e3.didcomm.session.lobby import Lobby
from e3.remote.text import printable

SENT = "https://e3.example/e3-inbox/1.0/invitation"
REPEAT_SECONDS = 10.0
"""Between attempts to reach an inbox at which nobody waits yet."""

MOST_SEEN = 1000


class Sent(Struct, frozen=True, kw_only=True):
    """An invitation to whoever has the inbox."""

    link: Annotated[str, Meta(max_length=LINK_LENGTH)]


def inbox_of(document: Document) -> str:
    """Return the DID of the inbox that a document names; raise `DidcommError` without one."""
    for service in document.services:
        with contextlib.suppress(DidcommError):
            if service.uri.startswith("did:") and dids.resolve(service.uri).services:
                return service.uri
    raise DidcommError(
        f"{printable(document.did, 80)} has no inbox in its document; send the link in another "
        "way, or ask for `e3 id --document --mediator URL`"
    )


async def deliver(box: Mailbox, lobby: Lobby, link: str, inboxes: Mapping[str, str]) -> None:
    """Send an invitation to ``inboxes``, by lasting DID, until all of these have come."""
    sid = invitations.read(link).sid
    while waited_for := [did for identity, did in inboxes.items() if identity in lobby.missing]:
        for did in waited_for:
            with contextlib.suppress(DidcommError):  # no way to one of them
                box.send(did, SENT, Sent(link=link), thid=sid)
        await asyncio.sleep(REPEAT_SECONDS)


async def received(box: Mailbox) -> AsyncIterator[Invitation]:
    """Yield the invitations that come, each once; what is none, or is over, is left out."""
    seen: dict[str, None] = {}
    while True:
        message = (await box.receive()).message
        if message.type != SENT:
            continue
        with contextlib.suppress(DidcommError):
            sent: Sent = body_of(message, Sent)
            invitation = invitations.read(sent.link)
            invitation.require_valid(time.time())
            if invitation.sid not in seen:
                seen[invitation.sid] = None
                if len(seen) > MOST_SEEN:
                    del seen[next(iter(seen))]
                yield invitation


def of_stranger(invitation: Invitation) -> str:
    """Return what is said of an invitation by somebody who is not known."""
    return (
        f"left out an invitation of {printable(invitation.name, 64)}, who is not known: "
        f"`e3 id --know {printable(invitation.identity, 100)} NAME` changes that"
    )


async def require_named(did: str, inbox: str) -> None:
    """Raise `DidcommError` unless the document of the user's domain names this inbox."""
    if not did.startswith(WEB):
        raise DidcommError(
            f"invitations are sent to domains, and you are {printable(did, 80)}; `e3 id --did "
            "did:web:YOUR.DOMAIN` takes an identity of your domain"
        )
    if inbox_of(await web_did.fetch(did)) != inbox:
        raise DidcommError(
            f"the document of {printable(did, 80)} names another inbox; publish what `e3 id "
            "--document --mediator URL` prints, with the mediator that is used here"
        )
