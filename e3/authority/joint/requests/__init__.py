"""What the joint authority can be asked to sign: one kind of request for each certificate.

A request is a typed value, never bytes to be signed. Each holder decodes it by itself (`decode`),
judges it by its own policy, and makes what is signed from it (`Request.to_be_signed`). Once there
is a signature, `Request.assemble` makes the certificate's text. One module a technology has the
encoding.
"""

from collections.abc import Callable, Mapping

import msgspec

from e3.authority.joint.requests import nebula, ssh
from e3.authority.joint.requests.credential import Credential, Status, StatusList
from e3.authority.joint.requests.fields import (
    PURPOSES,
    Purpose,
    RequestError,
    Signable,
    shown,
)
from e3.authority.joint.requests.nebula import NebulaAuthority, NebulaHost
from e3.authority.joint.requests.selective import SelectiveCredential
from e3.authority.joint.requests.ssh import SshHost, SshUser
from e3.authority.joint.requests.tls import TlsAuthority, TlsHost

__all__ = [
    "PURPOSES",
    "Credential",
    "NebulaAuthority",
    "NebulaHost",
    "Purpose",
    "Request",
    "RequestError",
    "SelectiveCredential",
    "Signable",
    "SshHost",
    "SshUser",
    "Status",
    "StatusList",
    "TlsAuthority",
    "TlsHost",
    "decode",
    "encode",
    "public_key_in",
]

Request = (
    NebulaAuthority
    | NebulaHost
    | TlsAuthority
    | TlsHost
    | SshHost
    | SshUser
    | Credential
    | SelectiveCredential
    | StatusList
)
"""Every kind of request; its ``kind`` in JSON tells which."""

MOST_BYTES = 65_536
"""The longest encoded request."""

KEY_TEXTS: Mapping[str, Callable[[str], bytes]] = {
    "nebula": nebula.public_key_of,
    "ssh": ssh.public_key_of,
}
"""How the public key of a host is written in its own file, by purpose."""

_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Request)


def encode(request: Request) -> bytes:
    """Return the one encoding of a request: JSON, its fields in the order of their class."""
    return _ENCODER.encode(request)


def decode(data: bytes) -> Request:
    """Return the request that ``data`` encodes; `RequestError` says what is wrong with it.

    Only what `encode` writes is taken, so that equal requests have equal bytes.
    """
    if len(data) > MOST_BYTES:
        raise RequestError(f"the request has {len(data)} bytes, but at most {MOST_BYTES} are read")
    try:
        request: Request = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the request cannot be read: {shown(str(error))}") from error
    if encode(request) != data:
        raise RequestError("the request is not written in the way that `encode` writes it")
    return request


def public_key_in(purpose: str, text: str) -> bytes:
    """Return the public key in the text of a host's own file; raise `RequestError` for another."""
    if purpose not in KEY_TEXTS:
        raise RequestError(f"hosts have no key of their own for {shown(purpose)}")
    return KEY_TEXTS[purpose](text)
