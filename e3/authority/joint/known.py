"""What a holder knows of a key when it judges a request: its header, and what its files have."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from e3.authority.joint import requests
from e3.authority.joint.channel import ChannelError, verify
from e3.authority.joint.dealing import hello_context
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.messages import Archived, Envelope, Header, Hello
from e3.authority.joint.policy import JointKey, OwnCertificate, Scope
from e3.authority.joint.requests import (
    NebulaAuthority,
    Request,
    RequestError,
    StatusList,
    TlsAuthority,
    public_key_in,
)
from e3.authority.joint.store import Store

KEY_FILE_BYTES = 4096


def key_of(header: Header, store: Store, hellos: Mapping[int, Envelope]) -> JointKey:
    """Return a key as the policy takes it; ``hellos`` are what members said, by their number."""
    # the file is written after the share: a crash between them leaves it out
    archived = store.certificate(header.purpose) or header.certificate
    return JointKey(
        public_key=Point(header.public_key),
        purpose=header.purpose,
        scope=header.scope,
        own=None if archived is None else own_certificate(archived),
        revoked=store.revoked(header.purpose),
        said=_said(header, hellos) if header.scope.key_file else {},
    )


def _said(header: Header, hellos: Mapping[int, Envelope]) -> dict[str, bytes | None]:
    """Return which key each holder says that its host has made for itself, by name."""
    said: dict[str, bytes | None] = {}
    for number, holder in header.holders.items():
        said[holder.name] = None
        if number in hellos:
            with suppress(ChannelError):
                context = hello_context(header.purpose)
                said[holder.name] = verify(hellos[number], holder.key, context, Hello).own
    return said


def own_key(scope: Scope, purpose: str) -> bytes | None:
    """Return the public key that this host has made for itself, if there is one to certify."""
    if not scope.key_file:
        return None
    try:
        with Path(scope.key_file).open("rb") as file:
            text = file.read(KEY_FILE_BYTES).decode(errors="replace")
        return public_key_in(purpose, text)
    except (OSError, RequestError, ValueError):  # it has none yet, or writes it in another way
        return None


def own_certificate(archived: Archived) -> OwnCertificate:
    """Return the authority's own certificate, as the policy takes it."""
    request = requests.decode(archived.request)
    if not isinstance(request, NebulaAuthority | TlsAuthority):
        raise RequestError(f"a {type(request).__name__} is no certificate of an authority")
    return OwnCertificate(request=request, signature=archived.signature)


def check_archived(header: Header, archived: Archived) -> None:
    """Raise `RequestError` unless this is a certificate that the authority's key has signed."""
    request = own_certificate(archived).request
    text = request.assemble(Point(header.public_key), archived.signature)
    if text != archived.text or request.purpose != header.purpose:
        raise RequestError("this is not the certificate of this authority")


def judged_by_files(asked: Iterable[Request]) -> bool:
    """Whether what a holder's files have decides about one of these requests.

    That is so for the authority's own certificate, which is signed once, and for lists of revoked
    credentials, which only grow.
    """
    kinds = NebulaAuthority | TlsAuthority | StatusList
    return any(isinstance(each, kinds) for each in asked)


def revoked_by(asked: Iterable[Request]) -> frozenset[int]:
    """Return the places of credentials that lists among these requests revoke."""
    lists = (each for each in asked if isinstance(each, StatusList))
    return frozenset(place for each in lists for place in each.revoked)
