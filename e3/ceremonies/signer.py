"""Sign certificates by ceremonies of a stack's holders."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from e3.authority.joint import requests
from e3.authority.joint.ed25519 import Point
from e3.ceremonies.authority import ceremony, current
from e3.ceremonies.signatures import is_final, sign
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.interfaces import Host

MOST_AT_ONCE = 200
"""Requests of one batch, so that what is said of it stays small."""


@dataclass(kw_only=True)
class JointSigner:
    """Signs requests by ceremonies of a stack's holders; what comes together is one batch.

    The first ``threshold`` of the hosts are asked, and those that are to be certified, which say
    which keys are theirs; only if they cannot sign, all are. Without one all are asked at once.
    """

    folder: Path
    purpose: str
    public_key: bytes
    hosts: Sequence[Host]
    threshold: int = 0
    _waiting: list[tuple[requests.Request, "asyncio.Future[str]"]] = field(default_factory=list)
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def sign(self, asked: Sequence[requests.Request]) -> list[str]:
        """Return the certificate of each request, in order."""
        loop = asyncio.get_running_loop()
        mine = [(each, loop.create_future()) for each in asked]
        self._waiting += mine
        async with self._busy:
            batch, self._waiting = self._waiting, []
            if batch:
                await self._sign(batch)
        return [future.result() for _, future in mine]

    async def _sign(self, batch: Sequence[tuple[requests.Request, "asyncio.Future[str]"]]) -> None:
        try:
            texts = await self._texts([request for request, _ in batch])
        except BaseException as error:
            for _, future in batch:
                if isinstance(error, Exception):
                    future.set_exception(error)
                    future.exception()  # read, so that asyncio does not log it
                else:
                    future.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), text in zip(batch, texts, strict=True):
            future.set_result(text)

    async def _texts(self, asked: Sequence[requests.Request]) -> list[str]:
        names = {getattr(each, "name", "") for each in asked}
        first = [
            host
            for number, host in enumerate(self.hosts)
            if number < self.threshold or host.name in names
        ]
        if self.threshold > 0 and len(first) < len(self.hosts):
            try:
                return await self._by(first, asked)
            except CeremonyFailedError as error:
                others = len(self.hosts) - len(error.culprits)
                too_many = error.verdict is CeremonyVerdict.REFUSED and others < self.threshold
                if too_many or is_final(error, asked):
                    raise
        return await self._by(self.hosts, asked)

    async def _by(self, hosts: Sequence[Host], asked: Sequence[requests.Request]) -> list[str]:
        async with ceremony(self.folder, self.purpose, "sign", hosts) as (assembly, record):
            header = current(assembly, self.public_key)
            if header is None:
                raise CeremonyFailedError(CeremonyVerdict.TOO_FEW, "nobody holds the key")
            record.of(header)
            signatures: list[bytes] = []
            for at in range(0, len(asked), MOST_AT_ONCE):
                made = await sign(assembly, header, asked[at : at + MOST_AT_ONCE])
                record.notes += made.notes
                signatures += made.signatures
            record.step("signed")
            record.signed += [describe(each) for each in asked]
            key = Point(header.public_key)
            return [
                each.assemble(key, signature)
                for each, signature in zip(asked, signatures, strict=True)
            ]


def describe(request: requests.Request) -> str:
    """Return a request as a line for the record."""
    return f"{type(request).__name__} {getattr(request, 'name', '')}".strip()
