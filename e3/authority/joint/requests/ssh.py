"""Certificates of OpenSSH for Ed25519 keys of hosts and users.

The encoding is that of openssh-portable, PROTOCOL.certkeys: the authority signs all that precedes
the signature. A random nonce in the request makes what is signed differ for equal values. As a
certificate without principals is valid for every name, there is always one, and no pattern.
"""

import base64
import binascii
import struct
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

KEY_TYPE = b"ssh-ed25519"
CERTIFICATE_TYPE = b"ssh-ed25519-cert-v01@openssh.com"
USER, HOST = 1, 2

Principal = Annotated[
    str, msgspec.Meta(min_length=1, max_length=253, pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:-]*\Z")
]
"""A name or an address of a host, or a user; without ``*`` and ``?``, which are patterns."""

Principals = Annotated[tuple[Principal, ...], msgspec.Meta(min_length=1, max_length=16)]

Serial = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A number by which a certificate can be revoked; 0 if it has none."""

Extension = Literal[
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
]


class SshHost(Signable, frozen=True, kw_only=True, tag="ssh-host"):
    """A host's certificate: this key is the host of these names and addresses.

    ``name`` is the certificate's identity in the logs of sshd.
    """

    purpose: ClassVar[Purpose] = "ssh"

    name: Name
    principals: Principals
    serial: Serial = 0
    nonce: Digest
    public_key: Key

    def check(self) -> None:
        """Refuse a principal that is there twice."""
        _each_once("principals", self.principals)

    def to_be_signed(self, public_key: Point) -> bytes:
        """Return what the authority signs for this host."""
        return _signed_bytes(self, HOST, (), public_key)

    def assemble(self, public_key: Point, signature: bytes) -> str:
        """Return the certificate's line; `RequestError` if the signature is wrong."""
        return _line(self, public_key, signature)


class SshUser(Signable, frozen=True, kw_only=True, tag="ssh-user"):
    """A user's certificate: this key logs in as these users, and may do what is listed."""

    purpose: ClassVar[Purpose] = "ssh"

    name: Name
    principals: Principals
    extensions: Annotated[tuple[Extension, ...], msgspec.Meta(max_length=5)] = ()
    serial: Serial = 0
    nonce: Digest
    public_key: Key

    def check(self) -> None:
        """Refuse what is there twice, and extensions in another order than sshd wants."""
        _each_once("principals", self.principals)
        _each_once("extensions", self.extensions)
        if list(self.extensions) != sorted(self.extensions):
            raise RequestError(f"extensions: {shown(self.extensions)} must be in their order")

    def to_be_signed(self, public_key: Point) -> bytes:
        """Return what the authority signs for this user."""
        return _signed_bytes(self, USER, self.extensions, public_key)

    def assemble(self, public_key: Point, signature: bytes) -> str:
        """Return the certificate's line; `RequestError` if the signature is wrong."""
        return _line(self, public_key, signature)


def public_key_of(line: str) -> bytes:
    """Return the 32 bytes of the key in a line of ``ssh-keygen``, as in a file ``.pub``."""
    kind, _, rest = line.strip().partition(" ")
    try:
        blob = base64.b64decode(rest.partition(" ")[0], validate=True)
    except binascii.Error as error:
        raise RequestError(f"public_key: {shown(line)} must have a key in base64") from error
    key = blob[-32:]
    if kind.encode() != KEY_TYPE or blob != _public_key(key):
        raise RequestError(f"public_key: {shown(line)} must be a key of {KEY_TYPE.decode()}")
    return key


def authority_line(public_key: Point) -> str:
    """Return the authority's key as OpenSSH writes it; sshd trusts it by TrustedUserCAKeys."""
    return f"{KEY_TYPE.decode()} {base64.b64encode(_public_key(public_key)).decode()}"


def _each_once(field: str, values: tuple[str, ...]) -> None:
    if len(set(values)) != len(values):
        raise RequestError(f"{field}: {shown(values)} must each be there once")


def _signed_bytes(
    request: SshHost | SshUser, kind: int, extensions: tuple[str, ...], public_key: Point
) -> bytes:
    return b"".join(
        [
            _string(CERTIFICATE_TYPE),
            _string(request.nonce),
            _string(request.public_key),
            struct.pack(">QI", request.serial, kind),
            _string(request.name.encode()),
            _string(b"".join(_string(each.encode()) for each in request.principals)),
            struct.pack(">QQ", request.not_before, request.not_after),
            _string(b""),  # critical options: none
            _string(b"".join(_string(each.encode()) + _string(b"") for each in extensions)),
            _string(b""),  # reserved
            _string(_public_key(public_key)),
        ]
    )


def _line(request: SshHost | SshUser, public_key: Point, signature: bytes) -> str:
    signed = request.to_be_signed(public_key)
    verify(public_key, signed, signature)
    whole = signed + _string(_string(KEY_TYPE) + _string(signature))
    return f"{CERTIFICATE_TYPE.decode()} {base64.b64encode(whole).decode()} {request.name}\n"


def _public_key(key: bytes) -> bytes:
    return _string(KEY_TYPE) + _string(key)


def _string(data: bytes) -> bytes:
    """Encode a string: its length in four bytes, and its content (RFC 4251, 5)."""
    return struct.pack(">I", len(data)) + data
