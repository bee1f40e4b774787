"""Documents of lasting DIDs: those of did:web are fetched first, then read like the others.

The state machines of a session need documents at once; whoever feeds them calls `Resolver.fetch`
with the DIDs of a message before.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from e3.didcomm import did as dids
from e3.didcomm import web_did
from e3.didcomm.did import Document
from e3.didcomm.errors import DidcommError
from e3.remote.text import printable

WEB = "did:web:"
MOST = 64


@dataclass
class Resolver:
    """Remembers the documents of did:web for one session.

    With ``only`` no document but that of this DID is fetched: a server learns who asks. Those that
    are ``trusted`` may be on a private network. ``connect`` makes what calls domains in another
    way than directly.
    """

    only: str | None = None
    trusted: frozenset[str] = frozenset()
    connect: Callable[[], aiohttp.BaseConnector] | None = None
    _fetched: dict[str, Document] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def resolve(self, did: str) -> Document:
        """Return the document of a DID; raise `DidcommError` if there is none."""
        if not did.startswith(WEB):
            return dids.resolve(did)
        if did not in self._fetched:
            hidden = "; with --relay-only its domain must not learn this machine's address"
            why = f"{printable(did, 80)} was not looked up{hidden if self.only else ''}"
            raise DidcommError(self._failed.get(did) or why)
        return self._fetched[did]

    async def fetch(self, needed: Sequence[str]) -> None:
        """Fetch those documents that have to be; `resolve` says what went wrong."""
        async with self._lock:
            for did in needed:
                if did.startswith(WEB) and self.only not in {None, did}:
                    continue
                if did.startswith(WEB) and did not in self._fetched and len(self._failed) < MOST:
                    try:
                        self._fetched[did] = await self._fetch(did)
                        self._failed.pop(did, None)
                    except DidcommError as error:
                        self._failed[did] = str(error)

    async def _fetch(self, did: str) -> Document:
        if self.connect is not None:
            return await web_did.fetch(did, self.connect())
        return await web_did.fetch(did, None if did in self.trusted else web_did.public_hosts())
