"""Certificates of Nebula, of version 1 and 2 (github.com/slackhq/nebula v1.12.0, folder ``cert``).

Version 1 is protobuf (``cert_v1.proto``) and signs its encoded details. A verifier encodes them
again, so that fields are in ascending order and those with a zero value are left out. Version 2
is DER (``cert_v2.asn1``) and signs details, curve and public key, one after another; the curve is
in what is signed although it is not in the certificate.

E3 asks for no unsafe networks, and for the curve 25519 alone.
"""

import base64
import binascii
import functools
import hashlib
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Annotated, ClassVar, Literal

import msgspec

from e3.authority.joint.ed25519 import Point
from e3.authority.joint.requests.fields import (
    Digest,
    Key,
    Name,
    Purpose,
    RequestError,
    Signable,
    shown,
    verify,
)

KEY_BANNER = "NEBULA X25519 PUBLIC KEY"
BANNERS = {1: "NEBULA CERTIFICATE", 2: "NEBULA CERTIFICATE V2"}
CURVE_25519 = b"\x00"
KEY_BYTES = 32
LONG_FORM = 0x80

Version = Literal[1, 2]
Network = Annotated[str, msgspec.Meta(max_length=64, pattern=r"\A[0-9a-f.:]+/[0-9]+\Z")]
Networks = Annotated[tuple[Network, ...], msgspec.Meta(max_length=16)]
Groups = Annotated[tuple[Name, ...], msgspec.Meta(max_length=16)]
Interface = IPv4Interface | IPv6Interface


class NebulaAuthority(Signable, frozen=True, kw_only=True, tag="nebula-authority"):
    """The authority's own certificate; what it lists bounds every host's.

    ``networks`` and ``groups`` bound nothing if they are empty.
    """

    purpose: ClassVar[Purpose] = "nebula"

    version: Version
    name: Name
    networks: Networks = ()
    groups: Groups = ()

    def check(self) -> None:
        """Refuse networks that the version cannot have."""
        _interfaces(self.networks, self.version)

    def to_be_signed(self, public_key: Point) -> bytes:
        """Return what the authority with this key signs for its own certificate."""
        return _signed_bytes(self, public_key)

    def assemble(self, public_key: Point, signature: bytes) -> str:
        """Return the certificate in PEM; `RequestError` if the signature is wrong."""
        return _certificate(self, public_key, public_key, signature)


class NebulaHost(Signable, frozen=True, kw_only=True, tag="nebula-host"):
    """A host's certificate: this X25519 key is that host, at these addresses.

    ``networks`` are addresses with their prefix length, such as ``10.77.0.2/16``; ``issuer`` is
    the fingerprint of the authority's certificate.
    """

    purpose: ClassVar[Purpose] = "nebula"

    version: Version
    name: Name
    networks: Networks
    groups: Groups = ()
    public_key: Key
    issuer: Digest

    def check(self) -> None:
        """Refuse addresses that the version cannot have, or that Nebula refuses."""
        given = _interfaces(self.networks, self.version)
        if not given or (self.version == 1 and len(given) != 1):
            raise RequestError(
                f"networks: {shown(self.networks)} must be one address in version 1, "
                "and at least one in version 2"
            )

    def to_be_signed(self, public_key: Point) -> bytes:
        """Return what the authority signs for this host."""
        del public_key  # the issuer's fingerprint covers it
        return _signed_bytes(self, self.public_key)

    def assemble(self, public_key: Point, signature: bytes) -> str:
        """Return the certificate in PEM; `RequestError` if the signature is wrong."""
        return _certificate(self, self.public_key, public_key, signature)


def fingerprint(
    request: NebulaAuthority | NebulaHost, public_key: Point, signature: bytes
) -> bytes:
    """Return the SHA-256 by which Nebula knows the certificate that `assemble` makes."""
    signed = request.to_be_signed(public_key)
    if request.version == 1:
        return hashlib.sha256(_field(1, signed) + _field(2, signature)).digest()
    return hashlib.sha256(signed + signature).digest()


def public_key_of(text: str) -> bytes:
    """Return the 32 bytes of the public key that ``nebula-cert keygen`` wrote in PEM."""
    lines = text.split("\n")
    edges = [f"-----{edge} {KEY_BANNER}-----" for edge in ("BEGIN", "END")]
    try:
        if [lines[0], *lines[2:]] != [*edges, ""]:
            raise RequestError(f"public_key: {shown(text)} must be a {KEY_BANNER} in PEM")
        key = base64.b64decode(lines[1], validate=True)
    except binascii.Error as error:
        raise RequestError(f"public_key: {shown(lines[1])} must be base64") from error
    if len(key) != KEY_BYTES:
        raise RequestError(f"public_key: it has {len(key)} bytes, but must have {KEY_BYTES}")
    return key


@functools.lru_cache(maxsize=1024)  # parsing takes longer than all else; one request is read often
def _interfaces(networks: tuple[str, ...], version: Version) -> tuple[Interface, ...]:
    """Return the networks, each of which has one spelling; `RequestError` for others."""
    found: list[Interface] = []
    for text in networks:
        try:
            one = ip_interface(text)
        except ValueError as error:
            raise RequestError(f"networks: {shown(text)} must be address/prefix") from error
        if str(one) != text:
            raise RequestError(f"networks: {shown(text)} must be written as {one}")
        if version == 1 and isinstance(one, IPv6Interface):
            raise RequestError(f"networks: {text} must be of IPv4 in version 1")
        mapped = isinstance(one, IPv6Interface) and one.ip.ipv4_mapped is not None
        if one.ip.is_unspecified or mapped:
            raise RequestError(f"networks: {text} is no address of a member")
        found.append(one)
    if len(set(found)) != len(found):
        raise RequestError(f"networks: {shown(networks)} must each be there once")
    return tuple(found)


def _signed_bytes(request: NebulaAuthority | NebulaHost, subject: bytes) -> bytes:
    if request.version == 1:
        return _details_v1(request, subject)
    return _details_v2(request) + CURVE_25519 + subject


def _certificate(
    request: NebulaAuthority | NebulaHost, subject: bytes, public_key: Point, signature: bytes
) -> str:
    signed = request.to_be_signed(public_key)
    verify(public_key, signed, signature)
    if request.version == 1:
        whole = _field(1, signed) + _field(2, signature)
    else:
        whole = _der(0x30, _details_v2(request) + _der(0x82, subject) + _der(0x83, signature))
    text = base64.b64encode(whole).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    banner = BANNERS[request.version]
    return "\n".join([f"-----BEGIN {banner}-----", *lines, f"-----END {banner}-----", ""])


def _details_v1(request: NebulaAuthority | NebulaHost, subject: bytes) -> bytes:
    """Encode ``RawNebulaCertificateDetails``."""
    pairs = [
        _varint(int(each))
        for one in _interfaces(request.networks, 1)
        for each in (one.ip, one.netmask)
    ]
    is_host = isinstance(request, NebulaHost)
    return b"".join(
        [
            _field(1, request.name.encode()),
            _field(2, b"".join(pairs)) if pairs else b"",
            *(_field(4, group.encode()) for group in request.groups),
            _number(5, request.not_before),
            _number(6, request.not_after),
            _field(7, subject),
            b"" if is_host else _number(8, 1),
            _field(9, request.issuer) if isinstance(request, NebulaHost) else b"",
        ]
    )


def _field(number: int, content: bytes) -> bytes:
    """Encode a protobuf field of wire type 2."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    """Encode a protobuf field of wire type 0, which is left out if it is zero."""
    return _varint(number << 3) + _varint(value) if value else b""


def _varint(value: int) -> bytes:
    """Encode a number that is not negative: 7 bits a byte, the lowest first."""
    lowest, rest = value & 0x7F, value >> 7
    return bytes([lowest | 0x80]) + _varint(rest) if rest else bytes([lowest])


def _details_v2(request: NebulaAuthority | NebulaHost) -> bytes:
    """Encode ``Details``, whose networks Nebula sorts: IPv4 first, by address and prefix."""
    networks = sorted(
        _interfaces(request.networks, 2),
        key=lambda one: (one.version, int(one.ip), one.network.prefixlen),
    )
    packed = [one.ip.packed + bytes([one.network.prefixlen]) for one in networks]
    content = _der(0x80, request.name.encode())
    if packed:
        content += _der(0xA1, b"".join(_der(0x04, one) for one in packed))
    if request.groups:
        content += _der(0xA3, b"".join(_der(0x0C, one.encode()) for one in request.groups))
    if isinstance(request, NebulaAuthority):
        content += _der(0x84, b"\xff")
    content += _der(0x85, _integer(request.not_before)) + _der(0x86, _integer(request.not_after))
    if isinstance(request, NebulaHost):
        content += _der(0x87, request.issuer)
    return _der(0xA0, content)


def _integer(value: int) -> bytes:
    """Encode the content of an INTEGER that is not negative."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def _der(tag: int, content: bytes) -> bytes:
    """Encode one element: tag, length in the shortest form, content (X.690, 8.1 and 10.1)."""
    size = len(content)
    if size < LONG_FORM:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
