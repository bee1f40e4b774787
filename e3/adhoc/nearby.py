"""Invitations on a local network, by DNS-SD over multicast DNS (RFC 6763, RFC 6762).

Whoever invites announces the invitation while it waits for others. The TXT record has the message
of the invitation, compressed, in pieces: so nobody has to be called, and no port is open for it.
Everybody on the network can read it, and ask for a seat.
"""

import asyncio
import contextlib
import logging
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url, unbase64
from e3.didcomm.session import invitation as invitations
from e3.didcomm.session.invitation import LINK_LENGTH, MARK, Invitation
from e3.errors import PlatformError, SessionError
from e3.remote.tasks import gather_or_cancel

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

KIND = "_e3-session._udp.local."
VERSION = b"1"
"""Of what the TXT record has."""

PIECE_BYTES = 240
"""A string of a TXT record has 255 bytes at most, with its key."""

MOST_PIECES = 8
MOST_FOUND = 50
ANSWER_SECONDS = 1.0
"""For the record of one invitation, which mostly came with its name."""


def record(link: str) -> dict[str, bytes]:
    """Return the TXT record of an invitation's link."""
    packed = zlib.compress(unbase64(link.partition(MARK)[2]), 9)
    pieces = [packed[at : at + PIECE_BYTES] for at in range(0, len(packed), PIECE_BYTES)]
    if len(pieces) > MOST_PIECES:
        raise SessionError(
            f"the invitation has {len(packed)} bytes, and {MOST_PIECES * PIECE_BYTES} can be "
            "announced; use a shorter --name or URL of the mediator"
        )
    return {"txtvers": VERSION, **{f"i{number}": piece for number, piece in enumerate(pieces)}}


def read(said: Mapping[bytes, bytes | None]) -> Invitation:
    """Return the invitation of a TXT record; raise `DidcommError` if there is none."""
    if said.get(b"txtvers") != VERSION:
        raise DidcommError("an announcement is of another version")
    pieces = [said.get(b"i%d" % number) or b"" for number in range(MOST_PIECES)]
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(b"".join(pieces), LINK_LENGTH)
    except zlib.error:
        raise DidcommError("an announcement is damaged") from None
    return invitations.read(f"{MARK}{base64url(content)}")


@asynccontextmanager
async def announced(link: str, interfaces: Sequence[str] = ()) -> AsyncIterator[None]:
    """Announce an invitation on all local networks, or at the addresses ``interfaces`` alone.

    Raises `PlatformError` without zeroconf, and `SessionError` if no network takes it.
    """
    async with _multicast(interfaces) as (multicast, addresses):
        from zeroconf.asyncio import AsyncServiceInfo  # noqa: PLC0415 - it may not be installed

        info = AsyncServiceInfo(
            KIND,
            f"{invitations.read(link).sid}.{KIND}",
            port=0,  # nothing is called there
            properties=record(link),
            server=f"e3-{secrets.token_hex(8)}.local.",
            parsed_addresses=addresses,
        )
        with _explained():
            await (await multicast.async_register_service(info))
        yield  # closing takes it back


async def found(seconds: float, interfaces: Sequence[str] = ()) -> list[Invitation]:
    """Return the valid invitations that are announced, after listening for so long.

    Nothing says that all have answered: hosts delay their answers, and packets are lost.
    """
    names: dict[str, None] = {}

    def changed(name: str, **_: object) -> None:
        if len(names) < MOST_FOUND:
            names[name] = None

    async with _multicast(interfaces) as (multicast, _):
        from zeroconf.asyncio import AsyncServiceBrowser  # noqa: PLC0415 - as above

        browser = AsyncServiceBrowser(multicast.zeroconf, KIND, handlers=[changed])
        try:
            await asyncio.sleep(seconds)
            answers = await gather_or_cancel([_look_up(multicast, name) for name in list(names)])
        finally:
            await browser.async_cancel()
    return sorted((each for each in answers if each is not None), key=lambda it: it.expires)


async def _look_up(multicast: "AsyncZeroconf", name: str) -> Invitation | None:
    """Return the invitation of a name; None if it is gone, over, or none of E3's."""
    from zeroconf.asyncio import AsyncServiceInfo  # noqa: PLC0415 - as above

    info = AsyncServiceInfo(KIND, name)
    if not await info.async_request(multicast.zeroconf, ANSWER_SECONDS * 1000):
        return None
    try:
        invitation = read(info.properties)
        invitation.require_valid(time.time())
    except DidcommError:
        return None
    return invitation


@asynccontextmanager
async def _multicast(
    interfaces: Sequence[str],
) -> AsyncIterator[tuple["AsyncZeroconf", list[str]]]:
    """Yield a member of multicast DNS, and this machine's addresses on those networks."""
    try:
        import ifaddr  # noqa: PLC0415 - comes with zeroconf, which may not be installed
        from zeroconf import InterfaceChoice, IPVersion  # noqa: PLC0415
        from zeroconf.asyncio import AsyncZeroconf  # noqa: PLC0415
    except ImportError:
        raise PlatformError(
            "invitations nearby need the package zeroconf; type `scripts/setup --sessions`, or "
            "install e3[nearby]"
        ) from None
    # what others send is its business, and not for this terminal
    logging.getLogger("zeroconf").setLevel(logging.CRITICAL)
    addresses = list(interfaces) or [
        str(each.ip)
        for adapter in ifaddr.get_adapters()
        for each in adapter.ips
        if each.is_IPv4 and not str(each.ip).startswith("127.")
    ]
    with _explained():
        multicast = AsyncZeroconf(
            interfaces=list(interfaces) or InterfaceChoice.All, ip_version=IPVersion.V4Only
        )
    try:
        yield multicast, addresses
    finally:
        await multicast.async_close()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    from zeroconf import Error  # noqa: PLC0415 - as above

    try:
        yield
    except (OSError, Error) as error:
        raise SessionError(
            f"no local network takes multicast DNS ({error or type(error).__name__}); send the "
            "link in another way"
        ) from None
