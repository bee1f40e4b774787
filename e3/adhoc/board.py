"""A mediator's board: invitations for people who do not know one another, by topic.

The protocol e3-board 1.0 has ``post``, ``remove`` and ``list``. A post is gone when its link has
expired, when whoever posted it removes it, or soon after they left the mediator. All is in memory.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from e3.didcomm.errors import DidcommError
from e3.didcomm.mailbox import Mailbox
from e3.didcomm.mediator.mediator import Reply
from e3.didcomm.messages import Received, body_of
from e3.didcomm.session import invitation as invitations
from e3.didcomm.session.invitation import LINK_LENGTH, Invitation

PROTOCOL = "https://e3.example/e3-board/1.0"
POST, REMOVE, LIST = f"{PROTOCOL}/post", f"{PROTOCOL}/remove", f"{PROTOCOL}/list"
POSTS = f"{PROTOCOL}/posts"

MOST_POSTS, MOST_OF_ONE, MOST_LISTED = 1000, 2, 50

Topic = Annotated[str, Meta(min_length=1, max_length=40, pattern=r"\A[a-z0-9-]+\Z")]


class Post(Struct):
    """An invitation under a topic."""

    topic: Topic
    link: Annotated[str, Meta(max_length=LINK_LENGTH)]


class Asked(Struct):
    """Ask for the posts of a topic, of all without one."""

    topic: Annotated[str, Meta(max_length=40)] = ""


class Posts(Struct):
    """The posts, the newest first."""

    posts: Annotated[list[Post], Meta(max_length=MOST_LISTED)]


@dataclass(frozen=True)
class _Kept:
    post: Post
    did: str
    expires: float


class Board:
    """The mediator's side."""

    def __init__(
        self, is_here: Callable[[str], bool], clock: Callable[[], float] = time.time
    ) -> None:
        """Keep posts of DIDs while ``is_here`` says that they are registered."""
        self._is_here = is_here
        self._clock = clock
        self._kept: list[_Kept] = []

    def take(self, received: Received, reply: Reply) -> bool:
        """Answer a message, an `e3.didcomm.mediator.mediator.Extra`."""
        kind, sender = received.message.type, received.sender
        if kind not in {POST, REMOVE, LIST} or sender is None:
            return False
        now = self._clock()
        self._kept = [it for it in self._kept if it.expires > now and self._is_here(it.did)]
        if kind == POST:
            self._post(body_of(received.message, Post), sender, now)
        elif kind == REMOVE:
            self._kept = [it for it in self._kept if it.did != sender]
        topic = body_of(received.message, Asked).topic if kind == LIST else ""
        found = [it.post for it in reversed(self._kept) if topic in {"", it.post.topic}]
        reply(POSTS, Posts(posts=found[:MOST_LISTED] if kind == LIST else []))
        return True

    def _post(self, post: Post, sender: str, now: float) -> None:
        invitation = invitations.read(post.link)
        invitation.require_valid(now)
        if invitation.did != sender:
            raise DidcommError("only who made an invitation can post it")
        if len(self._kept) >= MOST_POSTS:
            raise DidcommError("the board is full; try again in a minute")
        if sum(it.did == sender for it in self._kept) >= MOST_OF_ONE:
            raise DidcommError("this party has posts enough on the board")
        self._kept.append(_Kept(post, sender, invitation.expires))


@asynccontextmanager
async def posted(box: Mailbox, topic: str, link: str) -> AsyncIterator[None]:
    """Keep an invitation of this mailbox on the board; `DidcommError` if the mediator refuses."""
    await box.ask(POST, Post(topic=topic, link=link))
    yield
    with contextlib.suppress(DidcommError):  # without the mediator it has ended by itself
        await box.ask(REMOVE, {})


async def posts(box: Mailbox, topic: str) -> list[tuple[str, str, Invitation]]:
    """Return topic, link and invitation of each post that can be read and is still valid."""
    answer: Posts = body_of((await box.ask(LIST, Asked(topic=topic))).message, Posts)
    found = []
    for each in answer.posts:
        try:
            invitation = invitations.read(each.link)
            invitation.require_valid(time.time())
        except DidcommError:
            continue
        found.append((each.topic, each.link, invitation))
    return found
