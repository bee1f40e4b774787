"""A holder's judgement of a request: decoded whole, and within what the holders agreed to sign."""

import time
from ipaddress import ip_interface, ip_network

from e3.authority.joint import requests
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.examine import Examined, RefusalError
from e3.authority.joint.messages import Archived, Header
from e3.authority.joint.requests import NebulaAuthority, NebulaHost, TlsAuthority, TlsHost
from e3.authority.joint.requests.fields import shown
from e3.authority.joint.requests.nebula import fingerprint

CLOCK_SECONDS = 3600
"""How far the clocks of holders and of who asks may differ."""


def examine(header: Header, archived: Archived | None, data: bytes) -> Examined:
    """Return what is to be signed; raise `RefusalError` for what the holders did not agree to."""
    try:
        request = requests.decode(data)
        message = request.to_be_signed(Point(header.public_key))
    except requests.RequestError as error:
        raise RefusalError("form", str(error)) from None
    if request.purpose != header.purpose:
        raise RefusalError(
            "purpose", f"{request.purpose} is not signed with a key for {header.purpose}"
        )
    _check_time(header, request)
    match request:
        case NebulaAuthority() | TlsAuthority():
            what = _authority(archived, request)
        case NebulaHost():
            what = _host(header, archived, request)
        case TlsHost():
            what = _party(header, archived, request)
        case _:
            raise RefusalError("kind", f"this host signs no {type(request).__name__}")
    return Examined(message=message, what=what)


def check_archived(header: Header, certificate: Archived) -> None:
    """Raise `requests.RequestError` unless this is the certificate of the authority's own key."""
    request = requests.decode(certificate.request)
    text = request.assemble(Point(header.public_key), certificate.signature)
    if text != certificate.text:
        raise requests.RequestError("the text is not that of the certificate")


def _check_time(header: Header, request: requests.Request) -> None:
    ahead = request.not_before - time.time()
    if ahead > CLOCK_SECONDS:
        raise RefusalError("clock", f"not_before is {ahead:.0f} s ahead of this host's clock")
    if -ahead > CLOCK_SECONDS:
        raise RefusalError("clock", f"not_before is {-ahead:.0f} s behind this host's clock")
    seconds = request.not_after - request.not_before
    if (
        not isinstance(request, NebulaAuthority | TlsAuthority)
        and seconds > header.scope.most_seconds
    ):
        raise RefusalError(
            "validity", f"{seconds} s are more than the {header.scope.most_seconds} s agreed on"
        )


def _authority(archived: Archived | None, request: NebulaAuthority | TlsAuthority) -> str:
    if archived is not None:
        raise RefusalError("once", "the certificate of the authority is signed, and only once")
    return f"authority {request.name}"


def _host(header: Header, archived: Archived | None, request: NebulaHost) -> str:
    scope = header.scope
    if request.name not in scope.names:
        raise RefusalError("member", f"{shown(request.name)} is no member")
    networks = [ip_network(each) for each in scope.networks]
    for each in request.networks:
        if not any(ip_interface(each).ip in network for network in networks):
            raise RefusalError("address", f"{each} is in none of {', '.join(scope.networks)}")
    for group in request.groups:
        if group not in scope.groups:
            raise RefusalError("group", f"{shown(group)} is none of {', '.join(scope.groups)}")
    if archived is None:
        raise RefusalError("issuer", "the certificate of the authority is not signed yet")
    own = requests.decode(archived.request)
    if not isinstance(own, NebulaAuthority) or request.issuer != fingerprint(
        own, Point(header.public_key), archived.signature
    ):
        raise RefusalError("issuer", "this is not the authority's own certificate")
    return f"host {request.name} at {', '.join(request.networks)} until {_time(request.not_after)}"


def _party(header: Header, archived: Archived | None, request: TlsHost) -> str:
    if request.name not in header.scope.names:
        raise RefusalError("member", f"{shown(request.name)} is no party")
    own = None if archived is None else requests.decode(archived.request)
    if not isinstance(own, TlsAuthority) or own.name != request.issuer:
        raise RefusalError("issuer", f"{shown(request.issuer)} is not this authority")
    return f"party {request.name} until {_time(request.not_after)}"


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
