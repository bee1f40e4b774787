"""Authorities for tests of MPyC's own TLS: one that is right, and some that are not."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from e3.authority import x509
from e3.interfaces import Authority, SigningRequest
from e3.party.admission import certified

VALID_SECONDS = 86_400


def make() -> x509.X509Authority:
    """Return a new authority."""
    certificate, key = x509.make_authority("E3 test", VALID_SECONDS)
    return x509.X509Authority(certificate=certificate, key=key)


@dataclass(frozen=True, kw_only=True)
class Swapping:
    """An authority that gives party ``pid`` a certificate for ``other``, and is right otherwise."""

    inner: Authority
    pid: int
    other: int

    @property
    def certificate(self) -> str:
        return self.inner.certificate

    async def sign(self, requests: Sequence[SigningRequest]) -> Sequence[str]:
        return await self.inner.sign([self._swapped(request) for request in requests])

    def _swapped(self, request: SigningRequest) -> SigningRequest:
        mine = request.name == certified(self.pid)
        return replace(request, name=certified(self.other)) if mine else request


@dataclass(frozen=True, kw_only=True)
class Forging:
    """An authority that has another one, which nobody knows, certify the keys of ``pid``."""

    inner: Authority
    pid: int
    unknown: Authority = field(default_factory=make)

    @property
    def certificate(self) -> str:
        return self.inner.certificate

    async def sign(self, requests: Sequence[SigningRequest]) -> Sequence[str]:
        return [
            certificate
            for request in requests
            for certificate in await self._who(request).sign([request])
        ]

    def _who(self, request: SigningRequest) -> Authority:
        return self.unknown if request.name == certified(self.pid) else self.inner
