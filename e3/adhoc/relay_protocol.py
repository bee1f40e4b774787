"""The protocol e3-relay 1.0 between a party and its mediator: servers of STUN, and relay grants.

``servers`` asks where they are, ``request`` for one side of a pair's grant. A pair is named by a
value that only its two parties can compute, and a token of 128 bits is for one side alone.
"""

from typing import Annotated

from msgspec import Meta, Struct

PROTOCOL = "https://e3.example/e3-relay/1.0"
SERVERS, SERVERS_ARE = f"{PROTOCOL}/servers", f"{PROTOCOL}/servers-are"
REQUEST, GRANT = f"{PROTOCOL}/request", f"{PROTOCOL}/grant"

Port = Annotated[int, Meta(ge=1, le=65_535)]
Hostname = Annotated[str, Meta(max_length=255, pattern=r"\A[A-Za-z0-9.:-]*\Z")]


class Servers(Struct):
    """Where STUN is answered: at these UDP ports of a host, empty for the mediator's own."""

    stun: Annotated[list[Port], Meta(max_length=4)] = []
    host: Hostname = ""


class Request(Struct):
    """Ask for one side of a pair's grant."""

    pair: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class Granted(Struct):
    """One side of a grant: the relay's ports, its quota and how long it lasts."""

    token: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    udp: Port
    tcp: Annotated[int, Meta(ge=0, le=65_535)]
    bytes: int
    seconds: int
    host: Hostname = ""
