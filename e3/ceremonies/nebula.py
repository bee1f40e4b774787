"""The joint authority for Nebula, as overlays ask it: `e3.interfaces.Authority`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from e3.authority import nebula_cert
from e3.authority.joint.requests import NebulaAuthority, NebulaHost, RequestError
from e3.authority.joint.requests.nebula import Version, public_key_of
from e3.ceremonies.signer import JointSigner
from e3.errors import AuthorityError
from e3.interfaces import SigningRequest

VERSIONS: Mapping[int, Version] = {1: 1, 2: 2}


@dataclass(frozen=True, kw_only=True)
class JointNebulaCa:
    """Signs by a ceremony of the holders; nobody has the key."""

    certificate: str
    signer: JointSigner

    async def sign(self, requests: Sequence[SigningRequest]) -> Sequence[str]:
        """Return one certificate for each request, in order."""
        if not requests:
            return []
        facts = await nebula_cert.read(self.certificate)
        now = int(time.time())
        asked = [
            NebulaHost(
                version=_version(facts.version),
                name=request.name,
                networks=(request.address,),
                groups=request.groups,
                public_key=_key(request),
                issuer=bytes.fromhex(facts.fingerprint),
                not_before=now,
                not_after=min(now + request.valid_seconds, int(facts.not_after)),
            )
            for request in requests
        ]
        return await self.signer.sign(asked)


def _key(request: SigningRequest) -> bytes:
    try:
        return public_key_of(f"{request.public_key.strip()}\n")
    except RequestError as error:
        raise AuthorityError(f"the key of {request.name!r}: {error}") from None


def authority_request(title: str, valid_seconds: int, version: int = 2) -> NebulaAuthority:
    """Return the request for the authority's own certificate, valid from now."""
    now = int(time.time())
    return NebulaAuthority(
        version=_version(version), name=title, not_before=now, not_after=now + valid_seconds
    )


def _version(number: int) -> Version:
    if number not in VERSIONS:
        raise AuthorityError(f"Nebula has no certificates of version {number}; choose 1 or 2")
    return VERSIONS[number]
