"""did:web: a DID whose document a company publishes at its domain, fetched over HTTPS.

Source: did:web method specification (W3C CCG). Nothing is followed that the server says, and
nothing is fetched from an address, from a host without a domain, or for longer than 10 s. The DID
of a stranger must be at a public address: it could name a machine of the reader's own network.
"""

import asyncio
import ipaddress
import re
import socket
from urllib.parse import unquote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from e3.didcomm import did as dids
from e3.didcomm.did import DOCUMENT_BYTES, Document
from e3.didcomm.errors import DidcommError
from e3.remote.text import printable

SECONDS = 10.0
OK = 200

DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}")
PORT = re.compile(r"[1-9][0-9]{0,4}")
SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def url(did: str) -> str:
    """Return where the document of a did:web is."""
    place, *path = dids.syntax(did).removeprefix("did:web:").split(":")
    domain, colon, port = unquote(place).lower().partition(":")
    fits = DOMAIN.fullmatch(domain) and (not colon or PORT.fullmatch(port))
    if not did.startswith("did:web:") or not fits or not all(map(SEGMENT.fullmatch, path)):
        raise DidcommError(
            f"{printable(did, 80)} is no did:web of a domain; write did:web:example.org, or "
            "did:web:example.org:people:alice"
        )
    below = "/".join(path) or ".well-known"
    return f"https://{domain}{colon}{port}/{below}/did.json"


class _Public(AbstractResolver):
    """Finds the public addresses of a host, and no others."""

    def __init__(self, names: AbstractResolver) -> None:
        self._all = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See `AbstractResolver`."""
        found = await self._all.resolve(host, port, family)
        public = [each for each in found if is_public(each["host"])]
        if found and not public:
            raise OSError(
                None,
                f"{host} is at a private address; give its DID a name (`e3 id --know`) if it is "
                "one of your own network",
            )
        return public

    async def close(self) -> None:
        """See `AbstractResolver`."""
        await self._all.close()


def is_public(address: str) -> bool:
    """Return whether an address is one of the Internet."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is not None:
        known = known.ipv4_mapped
    return known.is_global and not known.is_multicast


def public_hosts(names: AbstractResolver | None = None) -> aiohttp.BaseConnector:
    """Return what connects to public addresses alone; ``names`` replaces the system's resolver."""
    return aiohttp.TCPConnector(resolver=_Public(names or ThreadedResolver()))


async def fetch(did: str, connector: aiohttp.BaseConnector | None = None) -> Document:
    """Return the document of a did:web; raise `DidcommError` if there is none.

    ``connector`` replaces how this machine reaches domains.
    """
    place = url(did)
    try:
        async with (
            asyncio.timeout(SECONDS),
            aiohttp.ClientSession(connector=connector) as http,
            http.get(place, allow_redirects=False) as answer,
        ):
            if answer.status != OK:
                raise DidcommError(
                    f"{place} answers {answer.status}; whoever owns {printable(did, 80)} "
                    "must publish its document there"
                )
            content = b""
            async for piece in answer.content.iter_chunked(DOCUMENT_BYTES):
                content += piece
                if len(content) > DOCUMENT_BYTES:
                    raise DidcommError(f"{place} is over {DOCUMENT_BYTES} bytes")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        why = printable(error) or "no answer in time"
        raise DidcommError(f"{place} cannot be fetched: {why}") from None
    return dids.document(did, content)
