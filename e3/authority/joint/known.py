"""What a holder knows of a key when it judges a request: its header, and what its files have."""

from collections.abc import Sequence

from e3.authority.joint import requests
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.messages import Archived, Header
from e3.authority.joint.policy import JointKey, OwnCertificate
from e3.authority.joint.requests import NebulaAuthority, RequestError, StatusList, TlsAuthority
from e3.authority.joint.store import Store


def key_of(header: Header, store: Store) -> JointKey:
    """Return a key as the policy takes it."""
    # the file is written after the share: a crash between them leaves it out
    archived = store.certificate(header.purpose) or header.certificate
    return JointKey(
        public_key=Point(header.public_key),
        purpose=header.purpose,
        scope=header.scope,
        own=None if archived is None else own_certificate(archived),
        revoked=store.revoked(header.purpose),
    )


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


def judged_by_files(encoded: Sequence[bytes]) -> bool:
    """Whether what a holder's files have decides about one of these requests.

    That is so for the authority's own certificate, which is signed once, and for lists of revoked
    credentials, which only grow.
    """
    kinds = NebulaAuthority | TlsAuthority | StatusList
    return any(isinstance(requests.decode(each), kinds) for each in encoded)


def revoked_by(encoded: Sequence[bytes]) -> frozenset[int]:
    """Return the places of credentials that lists among these requests revoke."""
    lists = (each for each in map(requests.decode, encoded) if isinstance(each, StatusList))
    return frozenset(place for each in lists for place in each.revoked)
