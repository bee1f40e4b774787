"""Invitations to a network: out-of-band messages in a link, one for each seat.

Whoever has the link can take the seat, once; it says which mediators the network uses, and which
DID conveys who the members are.
"""

from ipaddress import IPv4Interface
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from e3.didcomm import did as dids
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url, unbase64
from e3.didcomm.messages import Did
from e3.didcomm.network.bodies import HostName
from e3.didcomm.session.bodies import Hash, Token

PREFIX = "didcomm://invitation#_oob="
LINK_LENGTH = 16_384
MOST_MEDIATORS = 4

Place = Annotated[str, Meta(max_length=64, pattern=r"\A[0-9a-fA-F.:]+\Z")]
Port = Annotated[int, Meta(ge=1, le=65_535)]


class MediatorPlace(Struct, frozen=True, kw_only=True):
    """A mediator: its DID, its IP addresses, its TCP port, and its UDP ports that answer STUN."""

    did: Did
    addresses: Annotated[tuple[Place, ...], Meta(min_length=1, max_length=2)]
    port: Port
    stun: Annotated[tuple[Port, ...], Meta(max_length=2)] = ()


Mediators = Annotated[tuple[MediatorPlace, ...], Meta(min_length=1, max_length=MOST_MEDIATORS)]


class _Body(Struct, frozen=True, kw_only=True):
    goal_code: Literal["e3.network.seat"] = "e3.network.seat"
    accept: tuple[str, ...] = ("didcomm/v2",)
    token: Token
    name: HostName
    address: Annotated[str, Meta(pattern=r"\A[0-9.]{7,15}/[0-9]{1,2}\Z")]
    mediators: Mediators


class _Message(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    type: Literal["https://didcomm.org/out-of-band/2.0/invitation"] = (
        "https://didcomm.org/out-of-band/2.0/invitation"
    )
    id: Hash
    from_: Did
    body: _Body


class Invitation(Struct, frozen=True, kw_only=True):
    """An invitation to a seat of a network.

    ``network`` names the network and ``convener`` is the DID that says who its members are.
    ``address`` is the seat's in the network, with the length of the network's prefix.
    """

    network: str
    convener: str
    token: str
    name: str
    address: str
    mediators: tuple[MediatorPlace, ...]


def link(invitation: Invitation) -> str:
    """Return the link of an invitation."""
    body = _Body(
        token=invitation.token,
        name=invitation.name,
        address=invitation.address,
        mediators=invitation.mediators,
    )
    sent = _Message(id=invitation.network, from_=invitation.convener, body=body)
    return PREFIX + base64url(msgspec.json.encode(sent))


def read(text: str) -> Invitation:
    """Return the invitation in a link; raise `DidcommError` if there is none."""
    if len(text) > LINK_LENGTH or not text.startswith(PREFIX):
        raise DidcommError("that is no invitation to a network")
    try:
        sent = msgspec.json.decode(unbase64(text.removeprefix(PREFIX)), type=_Message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise DidcommError("the invitation is damaged") from None
    for each in sent.body.mediators:
        dids.resolve(each.did)
    try:
        IPv4Interface(sent.body.address)
    except ValueError:
        raise DidcommError("the invitation's address is none") from None
    return Invitation(
        network=sent.id,
        convener=dids.syntax(sent.from_),
        token=sent.body.token,
        name=sent.body.name,
        address=sent.body.address,
        mediators=sent.body.mediators,
    )
