"""Invitations: out-of-band messages in the fragment of a link, which no server is sent.

Whoever has the link can ask to be in, until it expires: it has a token. It has nothing private of
its author's besides, and no program: that comes encrypted, when somebody asks to be in.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from e3.didcomm import did as dids
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url, unbase64
from e3.didcomm.messages import CLOCK_SECONDS, Did, Seconds
from e3.didcomm.session.bodies import MOST_PARTIES, MOST_REQUIRED, Hash, Name, Token, Wanted
from e3.remote.text import printable

MARK = "_oob="
LINK_LENGTH = 8192
URL_LENGTH = 300
MOST_OTHERS = 1
"""Of mediators besides the first one."""

URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&()*+,;=%-]+")
"""Characters of RFC 3986 but the quote: a link is shown in quotes, to be typed into a shell."""


Url = Annotated[str, Meta(max_length=URL_LENGTH)]


class _Body(Struct, kw_only=True):
    goal_code: Literal["e3.mpc.session"] = "e3.mpc.session"
    goal: Annotated[str, Meta(max_length=200)]
    accept: tuple[str, ...] = ("didcomm/v2",)
    token: Token
    mediator: Url
    identity: Did
    name: Name
    program: Name
    digest: Hash
    parties: Annotated[int, Meta(ge=1, le=MOST_PARTIES)]
    others: Annotated[tuple[Url, ...], Meta(max_length=MOST_OTHERS)] | UnsetType = UNSET
    requires: Annotated[tuple[Wanted, ...], Meta(max_length=MOST_REQUIRED)] | UnsetType = UNSET


class _Message(Struct, kw_only=True, rename={"from_": "from"}):
    type: Literal["https://didcomm.org/out-of-band/2.0/invitation"] = (
        "https://didcomm.org/out-of-band/2.0/invitation"
    )
    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{16,64}\Z")]
    """Names a folder of whoever joins."""
    from_: Did
    created_time: Seconds
    expires_time: Seconds
    body: _Body


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """An invitation to a session.

    ``sid`` is the session's id, ``did`` the initiator's in it, and ``identity`` the lasting one,
    which the initiator proves later. ``digest`` is that of the program. ``others`` are mediators
    besides the first, and ``requires`` the credentials that every party must show.
    """

    sid: str
    did: str
    identity: str
    name: str
    token: str
    mediator: str
    program: str
    digest: str
    parties: int
    created: int
    expires: int
    others: tuple[str, ...] = ()
    requires: tuple[Wanted, ...] = ()

    @property
    def mediators(self) -> str:
        """The mediators' URLs, with a space between them."""
        return " ".join((self.mediator, *self.others))

    def require_valid(self, now: float) -> None:
        """Raise `DidcommError` if the invitation is over, or not yet valid."""
        if now > self.expires + CLOCK_SECONDS:
            raise DidcommError(
                f"this invitation expired {(now - self.expires) / 60:.0f} minutes ago; "
                f"ask {printable(self.name, 64)} for a new one"
            )
        if now < self.created - CLOCK_SECONDS:
            raise DidcommError("this invitation is from the future; set this machine's clock right")


def new_id() -> str:
    """Return a new session's id, or a token: 128 random bits in base64url."""
    return base64url(secrets.token_bytes(16))


def link(invitation: Invitation) -> str:
    """Return the link of an invitation."""
    sent = _Message(
        id=invitation.sid,
        from_=invitation.did,
        created_time=invitation.created,
        expires_time=invitation.expires,
        body=_Body(
            goal=f"compute {invitation.program} together",
            token=invitation.token,
            mediator=invitation.mediator,
            identity=invitation.identity,
            name=invitation.name,
            program=invitation.program,
            digest=invitation.digest,
            parties=invitation.parties,
            others=invitation.others or UNSET,
            requires=invitation.requires or UNSET,
        ),
    )
    page = invitation.mediator.partition("#")[0]
    return f"{page}#{MARK}{base64url(msgspec.json.encode(sent))}"


def read(text: str) -> Invitation:
    """Return the invitation in a link; raise `DidcommError` if there is none."""
    text = text.strip()
    _, mark, encoded = text.partition(MARK)
    if not mark or len(text) > LINK_LENGTH or not URL.fullmatch(text):
        raise DidcommError(
            f"{printable(text, 80)} is no invitation; copy the whole link, from https to its end"
        )
    try:
        sent = msgspec.json.decode(unbase64(encoded), type=_Message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, DidcommError):
        raise DidcommError(
            "the link is damaged; copy it whole, with all characters after #"
        ) from None
    body = sent.body
    others = body.others if body.others is not UNSET else ()
    for each in (body.mediator, *others):
        if not URL.fullmatch(each):
            raise DidcommError(f"the link has mediator {printable(each, 80)}, which is no URL")
    return Invitation(
        sid=sent.id,
        did=dids.syntax(sent.from_),
        identity=dids.syntax(body.identity),
        name=body.name,
        token=body.token,
        mediator=body.mediator,
        program=body.program,
        digest=body.digest,
        parties=body.parties,
        created=sent.created_time,
        expires=sent.expires_time,
        others=others,
        requires=body.requires if body.requires is not UNSET else (),
    )
