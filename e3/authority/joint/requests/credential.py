"""Verifiable credentials as JWT: W3C Verifiable Credentials 2.0, VC-JOSE-COSE 1.0, RFC 7519, 8037.

The issuer is the did:key of the authority's key. A credential is bound to its subject's DID, and
revoked by a W3C Bitstring Status List 1.0, which is a credential of the same key. Signed are the
ASCII bytes of the encoded header and payload, with a dot between them.
"""

import base64
import struct
import time
import zlib
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, TypeVar

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
Uuid = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
Index = Annotated[int, msgspec.Meta(ge=0, lt=LIST_BITS)]

GZIP_START = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
"""Compressed by DEFLATE, without flags, time and system."""

STORED_HEADER = struct.Struct("<BHH")
"""Of the last block: that it is the last, its length, and the complement of that."""

RESERVED = frozenset({"id", "type"})

Form = Literal["vc+jwt", "vc+sd-jwt"]
"""Whether a credential says all that it has, or its holder chooses what it shows."""

PLAIN: Form = "vc+jwt"
SELECTIVE: Form = "vc+sd-jwt"

Said = TypeVar("Said")


class Stated(Protocol):
    """What every credential states in plain text."""

    @property
    def identifier(self) -> str:
        """A UUID in hexadecimal."""

    @property
    def subject(self) -> str:
        """The DID of whoever the claims are about."""

    @property
    def status(self) -> "Status | None":
        """Where its revocation would be."""

    @property
    def not_before(self) -> int:
        """When it begins, a Unix time."""

    @property
    def not_after(self) -> int:
        """When it ends, a Unix time."""


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the revocation of a credential would be: a place in the list of this URL."""

    url: Url
    index: Index


class Credential(Signable, frozen=True, kw_only=True, tag="credential"):
    """A credential: the subject has these claims. ``identifier`` is a UUID in hexadecimal."""

    purpose: ClassVar[Purpose] = "credentials"

    identifier: Uuid
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
        said = {"id": self.subject, **dict(sorted(self.claims.items()))}
        return signed_bytes(self.algorithm, issuer, payload_of(self, issuer, said))

    def assemble(self, public_key: Point, signature: bytes) -> str:
        """Return the JWT; `RequestError` if the signature is wrong."""
        return jwt(self, public_key, signature)


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
        return signed_bytes(self.algorithm, issuer, payload)

    def assemble(self, public_key: Point, signature: bytes) -> str:
        """Return the JWT; `RequestError` if the signature is wrong."""
        return jwt(self, public_key, signature)


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The protected header of a credential."""

    alg: Algorithm
    typ: Form = PLAIN
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
    Generic[Said],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"context": "@context", "sd_alg": "_sd_alg"},
):
    """The credential itself, with the names that JWT has for the same values."""

    context: tuple[str, ...] = CONTEXTS
    type: tuple[str, ...]
    id: str
    issuer: str
    validFrom: str  # noqa: N815 -- the standard's names
    validUntil: str  # noqa: N815
    credentialSubject: Said  # noqa: N815
    credentialStatus: Entry | msgspec.UnsetType = msgspec.UNSET  # noqa: N815
    iss: str
    sub: str | msgspec.UnsetType = msgspec.UNSET
    jti: str | msgspec.UnsetType = msgspec.UNSET
    iat: int
    nbf: int
    exp: int
    sd_alg: Literal["sha-256"] | msgspec.UnsetType = msgspec.UNSET


def payload_of(
    stated: Stated,
    issuer: str,
    said: Said,
    sd_alg: Literal["sha-256"] | msgspec.UnsetType = msgspec.UNSET,
) -> Payload[Said]:
    """Return the payload of a credential that says this of its subject."""
    status = stated.status and Entry(
        id=f"{stated.status.url}#{stated.status.index}",
        statusListIndex=str(stated.status.index),
        statusListCredential=stated.status.url,
    )
    return Payload(
        type=("VerifiableCredential",),
        id=f"urn:uuid:{stated.identifier}",
        issuer=issuer,
        validFrom=written(stated.not_before),
        validUntil=written(stated.not_after),
        credentialSubject=said,
        credentialStatus=status or msgspec.UNSET,
        iss=issuer,
        sub=stated.subject,
        jti=f"urn:uuid:{stated.identifier}",
        iat=stated.not_before,
        nbf=stated.not_before,
        exp=stated.not_after,
        sd_alg=sd_alg,
    )


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


def signed_bytes(
    algorithm: Algorithm, issuer: str, payload: Payload[Any], form: Form = PLAIN
) -> bytes:
    """Return header and payload as they are signed."""
    kid = f"{issuer}#{issuer.removeprefix('did:key:')}"
    header = Header(alg=algorithm, typ=form, kid=kid)
    parts = (base64url(msgspec.json.encode(each)) for each in (header, payload))
    return ".".join(parts).encode()


class ToBeSigned(Protocol):
    """What makes bytes to be signed of itself."""

    def to_be_signed(self, public_key: Point) -> bytes:
        """Return them."""


def jwt(request: ToBeSigned, public_key: Point, signature: bytes) -> str:
    """Return the JWT of a request; `RequestError` if the signature is wrong."""
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
