"""The local authority for Nebula: one key, which the stack holds as a Pulumi secret."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from e3.authority import nebula_cert
from e3.interfaces import SigningRequest
from e3.remote.tasks import gather_or_cancel

CONCURRENCY = 8


@dataclass(frozen=True, kw_only=True)
class NebulaCa:
    """Signs with a key that whoever deploys the stack holds.

    Trust: the deployer can make any identity of this overlay. `certificate` is
    public; `key` lives in memory and, encrypted, in the stack's state.
    """

    certificate: str
    key: str = field(repr=False)

    async def sign(self, requests: Sequence[SigningRequest]) -> Sequence[str]:
        """Return one certificate for each request, in order."""
        limit = asyncio.Semaphore(CONCURRENCY)

        async def one(request: SigningRequest) -> str:
            async with limit:
                return await nebula_cert.sign(self.certificate, self.key, request)

        return await gather_or_cancel(map(one, requests))
