"""A party's side of e3-relay 1.0: asks its mediator for servers of STUN and for relay grants."""

import hashlib
import socket
from typing import Protocol
from urllib.parse import urlsplit

from e3.adhoc.relay_protocol import REQUEST, SERVERS, Granted, Request, Servers
from e3.didcomm.errors import DidcommError
from e3.didcomm.mailbox import Mailbox
from e3.didcomm.messages import Received, body_of
from e3.remote.tasks import in_thread
from e3.tunnel import Grant


async def stun_servers(box: Mailbox) -> tuple[str, ...]:
    """Return the addresses of the mediator's servers of STUN; none if it has none."""
    try:
        servers: Servers = body_of((await box.ask(SERVERS, {})).message, Servers)
        host = await _address(servers.host or _host(box.mediation.uri))
    except (DidcommError, OSError, UnicodeError):  # the last of a name that can be no host's
        return ()
    return tuple(_joined(host, port) for port in servers.stun)


class Place(Protocol):
    """A mediator as parties know it."""

    @property
    def uri(self) -> str:
        """Where it is called."""


class Asking(Protocol):
    """What is connected to a mediator, such as a `Mailbox`."""

    @property
    def mediation(self) -> Place:
        """The mediator."""

    async def ask(self, kind: str, body: object) -> Received:
        """Return its answer; raise `DidcommError` if it refuses or is silent."""


async def grant(box: Asking, secret: bytes) -> Grant | None:
    """Return this party's side of the grant of a pair with that secret; None if there is none."""
    pair = hashlib.sha256(b"e3-relay/1.0 pair" + secret).hexdigest()
    try:
        answer = await box.ask(REQUEST, Request(pair=pair))
        granted: Granted = body_of(answer.message, Granted)
        host = await _address(granted.host or _host(box.mediation.uri))
    except (DidcommError, OSError, UnicodeError):
        return None
    tcp = _joined(host, granted.tcp) if granted.tcp else None
    return Grant(token=granted.token, udp=_joined(host, granted.udp), tcp=tcp)


def _host(uri: str) -> str:
    return urlsplit(uri).hostname or ""


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _address(host: str) -> str:
    """Return an address of a host, one of IPv4 if it has any."""
    found = await in_thread(socket.getaddrinfo, host, None, 0, socket.SOCK_DGRAM)
    found.sort(key=lambda each: each[0] != socket.AF_INET)
    return str(found[0][4][0])
