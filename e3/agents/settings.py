"""What the programs on a host are told, as JSON in the folder of settings."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from e3.didcomm.errors import DidcommError
from e3.didcomm.network.convener import Given, Seats
from e3.didcomm.network.invitation import Mediators, Port

AGENT, SEATS, MEDIATOR = "agent.json", "seats.json", "mediator.json"
CONTROL, SERVING = "control", "serving"
"""The socket at which an agent tells its paths; the file that a mediator makes once it serves."""

FILE_BYTES = 4 << 20

Path_ = Annotated[str, Meta(min_length=1, max_length=4096)]


class AgentSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of an agent: the link that invites it, and how it makes its end of the tunnels.

    In the mode ``messages`` there are none: ``ports`` of members are carried by messages.
    """

    link: Annotated[str, Meta(max_length=16_384)]
    tunnel: Path_
    interface: Annotated[str, Meta(min_length=1, max_length=15)]
    port: Port
    mtu: Annotated[int, Meta(ge=576, le=9000)]
    mode: Literal["tunnel", "messages"] = "tunnel"
    ports: Annotated[tuple[Port, ...], Meta(max_length=1024)] = ()


class MediatorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a mediator: its ports, and those of its servers of STUN and its relay.

    With ``unlimited`` it passes on whatever agents send, as all data of a session.
    """

    tunnel: Path_
    port: Port
    relay_udp: tuple[Port, Port]
    relay_tcp: Port
    unlimited: bool = False


class Invited(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What invitations are made for."""

    seats: Seats
    prefix: Annotated[int, Meta(ge=0, le=32)]
    mediators: Mediators


Kind = TypeVar("Kind", AgentSettings, MediatorSettings, Given)


def read(path: Path, kind: type[Kind]) -> Kind:
    """Return the content of a file; raise `DidcommError` if it cannot be."""
    try:
        return msgspec.json.decode(_bounded(path), type=kind)
    except (OSError, ValueError) as error:
        raise DidcommError(f"{path}: {error}") from None


def read_seats(path: Path) -> Seats | None:
    """Return the seats that this host's agent gives; None if it does not convene the network."""
    try:
        found: Seats = msgspec.json.decode(_bounded(path), type=Seats)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DidcommError(f"{path}: {error}") from None
    return found


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(FILE_BYTES + 1)
    if len(content) > FILE_BYTES:
        raise DidcommError(f"{path} has more than {FILE_BYTES} bytes")
    return content
