"""Verifiable credentials as JWT: W3C Verifiable Credentials 2.0, VC-JOSE-COSE 1.0, RFC 7519, 8037.

The issuer is the did:key of the authority's key. A credential is bound to its subject's DID, and
revoked by a W3C Bitstring Status List 1.0, which is a credential of the same key. Signed are the
ASCII bytes of the encoded header and payload, with a dot between them.
"""

import base64
import struct
import time
import zlib
from typing import Annotated, ClassVar, Literal

import msgspec

from e3.authority.joint.ed25519 import Point
from e3.authority.joint.requests.fields import (
    Purpose,
    RequestError,
    Signable,
    shown,
    verify,
)

CONTEXTS = (
    "https://www.w3.org/ns/credentials/v2",
    # for claims that no other context defines
    "https://www.w3.org/ns/credentials/undefined-terms/v2",
)
LIST_BITS = 131_072
"""The length of a status list: the least that the standard permits, so that lists look alike."""

Algorithm = Literal["EdDSA", "Ed25519"]
"""The same signature by its older name (RFC 8037), or by that of RFC 9864."""

Did = Annotated[
    str, msgspec.Meta(max_length=4096, pattern=r"\Adid:[a-z0-9]{1,16}:[A-Za-z0-9._:%-]+\Z")
]
Url = Annotated[
    str, msgspec.Meta(max_length=300, pattern=r"\A(https://|urn:|did:)[A-Za-z0-9._:/?=&%~+-]+\Z")
]
Claim = Annotated[str, msgspec.Meta(max_length=64, pattern=r"\A[a-z][A-Za-z0-9]*\Z")]
Value = Annotated[str, msgspec.Meta(max_length=256, pattern=r"\A[ -~]+\Z")]
Index = Annotated[int, msgspec.Meta(ge=0, lt=LIST_BITS)]

GZIP_START = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
"""Compressed by DEFLATE, without flags, time and system."""

STORED_HEADER = struct.Struct("<BHH")
"""Of the last block: that it is the last, its length, and the complement of that."""

RESERVED = frozenset({"id", "type"})


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the revocation of a credential would be: a place in the list of this URL."""

    url: Url
    index: Index


class Credential(Signable, frozen=True, kw_only=True, tag="credential"):
    """A credential: the subject has these claims. ``identifier`` is a UUID in hexadecimal."""

    purpose: ClassVar[Purpose] = "credentials"

    identifier: Annotated[
        str, msgspec.Meta(pattern=r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
    ]
    subject: Did
    claims: Annotated[dict[Claim, Value], msgspec.Meta(min_length=1, max_length=16)]
    status: Status | None = None
    algorithm: Algorithm = "EdDSA"

    def check(self) -> None:
        """Refuse claims that the standard has for itself."""
        if taken := RESERVED & set(self.claims):
            raise RequestError(f"claims: {shown(sorted(taken))} must have another name")

    def to_be_signed(self, public_key: Point) -> bytes:
        """Return what the authority signs for this credential."""
        issuer = did_of(public_key)
        status = self.status and Entry(
            id=f"{self.status.url}#{self.status.index}",
            statusListIndex=str(self.status.index),
            statusListCredential=self.status.url,
        )
        payload = Payload(
            type=("VerifiableCredential",),
            id=f"urn:uuid:{self.identifier}",
            issuer=issuer,
            validFrom=written(self.not_before),
            validUntil=written(self.not_after),
            credentialSubject={"id": self.subject, **dict(sorted(self.claims.items()))},
            credentialStatus=status or msgspec.UNSET,
            iss=issuer,
            sub=self.subject,
            jti=f"urn:uuid:{self.identifier}",
            iat=self.not_before,
            nbf=self.not_before,
            exp=self.not_after,
        )
        return _signed_bytes(self.algorithm, issuer, payload)

    def assemble(self, public_key: Point, signature: bytes) -> str:
        """Return the JWT; `RequestError` if the signature is wrong."""
        return _jwt(self, public_key, signature)


class StatusList(Signable, frozen=True, kw_only=True, tag="status-list"):
    """Which credentials of the list ``url`` are revoked: their places, in ascending order."""

    purpose: ClassVar[Purpose] = "credentials"

    url: Url
    revoked: Annotated[tuple[Index, ...], msgspec.Meta(max_length=8192)] = ()
    algorithm: Algorithm = "EdDSA"

    def check(self) -> None:
        """Refuse places in another order, or twice."""
        if list(self.revoked) != sorted(set(self.revoked)):
            raise RequestError("revoked: the places must be in ascending order, each once")

    def to_be_signed(self, public_key: Point) -> bytes:
        """Return what the authority signs for this list."""
        issuer = did_of(public_key)
        payload = Payload(
            type=("VerifiableCredential", "BitstringStatusListCredential"),
            id=self.url,
            issuer=issuer,
            validFrom=written(self.not_before),
            validUntil=written(self.not_after),
            credentialSubject={
                "id": f"{self.url}#list",
                "type": "BitstringStatusList",
                "statusPurpose": "revocation",
                "encodedList": _encoded_list(self.revoked),
            },
            iss=issuer,
            iat=self.not_before,
            nbf=self.not_before,
            exp=self.not_after,
        )
        return _signed_bytes(self.algorithm, issuer, payload)

    def assemble(self, public_key: Point, signature: bytes) -> str:
        """Return the JWT; `RequestError` if the signature is wrong."""
        return _jwt(self, public_key, signature)


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The protected header of a credential."""

    alg: Algorithm
    typ: Literal["vc+jwt"] = "vc+jwt"
    kid: str


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The property ``credentialStatus``."""

    id: str
    type: Literal["BitstringStatusListEntry"] = "BitstringStatusListEntry"
    statusPurpose: Literal["revocation"] = "revocation"  # noqa: N815 -- the standard's names
    statusListIndex: str  # noqa: N815
    statusListCredential: str  # noqa: N815


class Payload(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"context": "@context"},
):
    """The credential itself, with the names that JWT has for the same values."""

    context: tuple[str, ...] = CONTEXTS
    type: tuple[str, ...]
    id: str
    issuer: str
    validFrom: str  # noqa: N815 -- the standard's names
    validUntil: str  # noqa: N815
    credentialSubject: dict[str, str]  # noqa: N815
    credentialStatus: Entry | msgspec.UnsetType = msgspec.UNSET  # noqa: N815
    iss: str
    sub: str | msgspec.UnsetType = msgspec.UNSET
    jti: str | msgspec.UnsetType = msgspec.UNSET
    iat: int
    nbf: int
    exp: int


def did_of(public_key: Point) -> str:
    """Return the did:key of the authority's key."""
    # most ceremonies need neither DIDs nor cryptography
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey,
    )

    from e3.didcomm.keys import multikey  # noqa: PLC0415

    return f"did:key:{multikey(Ed25519PublicKey.from_public_bytes(public_key))}"


def written(seconds: int) -> str:
    """Return a Unix time as XML Schema writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def base64url(data: bytes) -> str:
    """Return ``data`` in base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _signed_bytes(algorithm: Algorithm, issuer: str, payload: Payload) -> bytes:
    header = Header(alg=algorithm, kid=f"{issuer}#{issuer.removeprefix('did:key:')}")
    parts = (base64url(msgspec.json.encode(each)) for each in (header, payload))
    return ".".join(parts).encode()


def _jwt(request: Credential | StatusList, public_key: Point, signature: bytes) -> str:
    signed = request.to_be_signed(public_key)
    verify(public_key, signed, signature)
    return f"{signed.decode()}.{base64url(signature)}"


def _encoded_list(revoked: tuple[int, ...]) -> str:
    """Return the list as the standard encodes it; place 0 is the highest bit of the first byte.

    GZIP (RFC 1952) around one block of DEFLATE that is stored (RFC 1951, 3.2.4): what a compressor
    makes depends on its version, and each holder has to make the same.
    """
    bits = bytearray(LIST_BITS // 8)
    for place in revoked:
        bits[place // 8] |= 0x80 >> place % 8
    size = len(bits)
    block = STORED_HEADER.pack(1, size, size ^ 0xFFFF) + bits
    return "u" + base64url(GZIP_START + block + struct.pack("<II", zlib.crc32(bits), size))


def revoked_in(encoded: bytes) -> tuple[int, ...]:
    """Return the places that are set in a list, encoded in the way of `StatusList`."""
    begin = len(GZIP_START) + STORED_HEADER.size
    bits = encoded[begin : begin + LIST_BITS // 8]
    return tuple(
        8 * at + place
        for at, byte in enumerate(bits)
        if byte
        for place in range(8)
        if byte & 0x80 >> place
    )
