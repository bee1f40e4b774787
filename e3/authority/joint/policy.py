"""What a holder checks by itself before it signs: each rule, for each kind of request.

The holders of a key agree on a `Scope` when they make it, or make new shares of it. A holder that
is asked to sign decodes the request, and refuses whatever is outside of that scope. So the one who
asks, who deploys the stack, cannot have a stranger certified by holders who were not told of him.
A member that holds a share says itself which key its host has made, signed with the key by which
the others know it (`JointKey.said`): no other is certified in its name. Of other members a holder
cannot know whether a public key is really theirs, unless the scope has it; the line for its log
has the key, for its owner to compare.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network
from typing import Annotated, TypeVar

import msgspec

from e3.authority.joint import ed25519, requests
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.requests import (
    Credential,
    NebulaAuthority,
    NebulaHost,
    Request,
    RequestError,
    SelectiveCredential,
    SshHost,
    SshUser,
    StatusList,
    TlsAuthority,
    TlsHost,
)
from e3.authority.joint.requests.fields import Key, shown
from e3.authority.joint.requests.nebula import fingerprint

ANYBODY = "*"
"""Among the names of a scope: credentials may be for every subject."""

CLOCK_SECONDS = 3600
"""How far the clocks of a holder and of the coordinator may differ."""

EARLIER_SECONDS = 3600
"""Certificates may begin this long before they are asked for: the clocks of hosts may be slow."""

AUTHORITY_SECONDS = 20 * 366 * 86_400
"""The longest validity of an authority's own certificate."""

OWN_KNOWLEDGE: Mapping[str, tuple[type[Request], ...]] = {
    "once": (NebulaAuthority, TlsAuthority),
    "revoked": (StatusList,),
}
"""Rules by which a holder judges what others may not know, and the requests that they are about.

By all others, holders who are told the same judge alike, but for their clocks.
"""

T = TypeVar("T", NebulaAuthority, TlsAuthority)

Text = Annotated[str, msgspec.Meta(max_length=2000)]
Texts = Annotated[tuple[Text, ...], msgspec.Meta(max_length=5000)]


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the holders of a key have agreed to sign with it.

    ``names`` are those of members; no certificate is for another, or for longer than
    ``most_seconds``. ``networks`` have the addresses of all members, ``addresses`` those of one;
    ``groups`` are all that a certificate may have. ``keys`` are the public keys of members, and
    ``principals`` what a member may be called in a certificate of OpenSSH besides its name. Where
    a member is not in ``addresses`` or ``keys``, that rule does not bind it. ``users`` may have a
    certificate to log in by OpenSSH, each as those that are listed. ``key_file`` is the path of
    the file in which each host has the public key that it made for itself, if they have one.

    For credentials, ``names`` are the DIDs of subjects, or `ANYBODY`; ``claims`` are what they
    may claim, any value if none is listed; ``status_url`` is that of the list of revoked ones.
    """

    names: Texts
    most_seconds: Annotated[int, msgspec.Meta(ge=1, le=AUTHORITY_SECONDS)]
    networks: Annotated[tuple[Text, ...], msgspec.Meta(max_length=16)] = ()
    groups: Annotated[tuple[Text, ...], msgspec.Meta(max_length=64)] = ()
    addresses: Annotated[dict[Text, Texts], msgspec.Meta(max_length=5000)] = {}
    keys: Annotated[dict[Text, tuple[Key, ...]], msgspec.Meta(max_length=5000)] = {}
    principals: Annotated[dict[Text, Texts], msgspec.Meta(max_length=5000)] = {}
    users: Annotated[dict[Text, Texts], msgspec.Meta(max_length=5000)] = {}
    claims: Annotated[dict[Text, Texts], msgspec.Meta(max_length=64)] = {}
    status_url: Text = ""
    key_file: Text = ""


class OwnCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The authority's own certificate: what was asked for, and the signature."""

    request: NebulaAuthority | TlsAuthority
    signature: bytes


class JointKey(msgspec.Struct, frozen=True, kw_only=True):
    """The public side of a key, what it is for, and what may be signed with it.

    ``own`` is the authority's own certificate, once it is signed; ``revoked`` are the places of
    credentials that this holder has helped to revoke. ``said`` are the keys that members said to
    be theirs, by name; None for one that has said none, and so gets no certificate.
    """

    public_key: Point
    purpose: str
    scope: Scope
    own: OwnCertificate | None = None
    revoked: frozenset[int] = frozenset()
    said: Mapping[str, bytes | None] = {}


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is allowed: the bytes to sign, made here, and a line for the log."""

    request: Request
    message: bytes
    what: str


class RefusalError(Exception):
    """A holder refuses a request: the ``rule``, and why, with the value."""

    def __init__(self, rule: str, reason: str) -> None:
        """Keep the rule."""
        super().__init__(reason)
        self.rule = rule


def examine(key: JointKey, data: bytes, now: float | None = None) -> Examined:
    """Return what is to be signed for an encoded request; `RefusalError` if it is not allowed.

    ``now`` is a Unix time, that of this host's clock by default.
    """
    try:
        request = requests.decode(data)
    except RequestError as error:
        raise RefusalError("form", str(error)) from error
    check(key, request, time.time() if now is None else now)
    message = request.to_be_signed(key.public_key)
    return Examined(request=request, message=message, what=description(request))


def check(key: JointKey, request: Request, now: float) -> None:
    """Raise `RefusalError` unless a request is within what the holders of ``key`` agreed on."""
    if request.purpose != key.purpose:
        raise RefusalError(
            "purpose", f"a key for {key.purpose} does not sign for {request.purpose}"
        )
    _check_clock(request, now)
    match request:
        case NebulaAuthority() | TlsAuthority():
            _check_authority(key, request)
        case NebulaHost():
            _check_nebula(key, request)
        case TlsHost():
            _check_tls(key, request)
        case SshHost() | SshUser():
            _check_ssh(key, request)
        case Credential() | SelectiveCredential():
            _check_credential(key.scope, request)
        case StatusList():
            _check_status_list(key, request)


def description(request: Request) -> str:
    """Return a line for the log: what is certified, with which key, until when."""
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(request.not_after))
    match request:
        case NebulaAuthority() | TlsAuthority():
            return f"{request.purpose} authority {request.name} until {until}"
        case NebulaHost():
            what = f"{request.name} at {', '.join(request.networks)}"
        case TlsHost():
            what = request.name
        case SshHost() | SshUser():
            kind = "host" if isinstance(request, SshHost) else "user"
            what = f"{kind} {request.name} as {', '.join(request.principals)}"
        case Credential() | SelectiveCredential():
            claims = ", ".join(f"{name}={value}" for name, value in sorted(request.claims.items()))
            return f"credential {request.identifier} of {request.subject}: {claims} until {until}"
        case StatusList():
            return f"list {request.url} with {len(request.revoked)} revoked until {until}"
    return f"{request.purpose} {what} with key {request.public_key.hex()} until {until}"


def _check_clock(request: Request, now: float) -> None:
    ahead = request.not_before - now
    if ahead > CLOCK_SECONDS:
        raise RefusalError("clock", f"not_before is {ahead:.0f} s ahead of this host's clock")
    if -ahead > CLOCK_SECONDS + EARLIER_SECONDS:
        raise RefusalError("clock", f"not_before is {-ahead:.0f} s behind this host's clock")


def _check_authority(key: JointKey, request: NebulaAuthority | TlsAuthority) -> None:
    """Allow it once: with another signature it is another certificate, to which no host belongs."""
    if key.own is not None:
        raise RefusalError(
            "once", f"the authority has its own certificate, for {key.own.request.name}"
        )
    _check_validity(request, AUTHORITY_SECONDS)


def _check_nebula(key: JointKey, request: NebulaHost) -> None:
    own, signature = _own(key, NebulaAuthority)
    _check_member(key, request)
    _check_within(own, request)
    if request.version != own.version:
        raise RefusalError("issuer", f"the authority's certificate is of version {own.version}")
    if request.issuer != fingerprint(own, key.public_key, signature):
        raise RefusalError("issuer", f"{request.issuer.hex()} is not the authority's certificate")
    _check_addresses(key.scope, request)
    for group in request.groups:
        if group not in key.scope.groups:
            raise RefusalError("group", f"{shown(group)} is none of {_listed(key.scope.groups)}")


def _check_addresses(scope: Scope, request: NebulaHost) -> None:
    told = scope.addresses.get(request.name)
    for text in request.networks:
        if not any(_inside(text, network) for network in scope.networks):
            raise RefusalError("address", f"{text} is in none of {_listed(scope.networks)}")
        if told is not None and text not in told:
            raise RefusalError("address", f"{text} is not what {request.name} has: {_listed(told)}")


@functools.lru_cache(maxsize=1024)  # parsing takes longer than all other checks
def _inside(address: str, network: str) -> bool:
    """Whether an address with its prefix is of this network, and of nothing beyond it."""
    inner, outer = ip_interface(address).network, ip_network(network)
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def _check_tls(key: JointKey, request: TlsHost) -> None:
    own, _ = _own(key, TlsAuthority)
    _check_member(key, request)
    _check_within(own, request)
    if request.issuer != own.name:
        raise RefusalError("issuer", f"{shown(request.issuer)} is not the authority {own.name}")
    _check_point(request.public_key)


def _check_ssh(key: JointKey, request: SshHost | SshUser) -> None:
    scope = key.scope
    if isinstance(request, SshHost):
        _check_member(key, request)
        allowed = (request.name, *scope.principals.get(request.name, ()))
    else:
        _check_listed(scope, request, tuple(scope.users))
        allowed = scope.users[request.name]
    _check_point(request.public_key)
    for principal in request.principals:
        if principal not in allowed:
            raise RefusalError("principal", f"{shown(principal)} is none of {_listed(allowed)}")


def _check_credential(scope: Scope, request: Credential | SelectiveCredential) -> None:
    if request.subject not in scope.names and ANYBODY not in scope.names:
        raise RefusalError("member", f"{shown(request.subject)} is no member")
    _check_validity(request, scope.most_seconds)
    for name, value in request.claims.items():
        known = scope.claims.get(name)
        if known is None:
            raise RefusalError("claim", f"{shown(name)} is none of {_listed(tuple(scope.claims))}")
        if known and value not in known:
            raise RefusalError("claim", f"{name}: {shown(value)} is none of {_listed(known)}")
    if request.status is None or request.status.url != scope.status_url:
        raise RefusalError("status", f"its list must be {shown(scope.status_url)}")


def _check_status_list(key: JointKey, request: StatusList) -> None:
    if request.url != key.scope.status_url:
        raise RefusalError("status", f"the list must be {shown(key.scope.status_url)}")
    _check_validity(request, key.scope.most_seconds)
    if missing := sorted(key.revoked - set(request.revoked)):
        raise RefusalError("revoked", f"{shown(missing)} were revoked and would be valid again")


def _own(key: JointKey, kind: type[T]) -> tuple[T, bytes]:
    """Return the authority's own certificate, as was asked for, and its signature."""
    if key.own is None or not isinstance(key.own.request, kind):
        raise RefusalError("issuer", "the authority has no certificate of its own yet")
    return key.own.request, key.own.signature


def _check_member(key: JointKey, request: NebulaHost | TlsHost | SshHost) -> None:
    _check_listed(key.scope, request, key.scope.names)
    own = key.said.get(request.name, request.public_key)
    if own is None:
        raise RefusalError("key", f"{request.name} has not said which key is its own")
    if own != request.public_key:
        raise RefusalError(
            "key", f"{request.public_key.hex()} is not the key that {request.name} says to have"
        )


def _check_listed(
    scope: Scope, request: NebulaHost | TlsHost | SshHost | SshUser, names: Sequence[str]
) -> None:
    if request.name not in names:
        raise RefusalError("member", f"{shown(request.name)} is no member")
    _check_validity(request, scope.most_seconds)
    known = scope.keys.get(request.name)
    if known is not None and request.public_key not in known:
        raise RefusalError("key", f"{request.public_key.hex()} is no key of {request.name}")


def _check_within(own: NebulaAuthority | TlsAuthority, request: NebulaHost | TlsHost) -> None:
    """Refuse a validity that verifiers would: one that is not within the authority's own."""
    if request.not_before < own.not_before or request.not_after > own.not_after:
        raise RefusalError(
            "validity",
            f"{request.not_before} to {request.not_after} is not within the authority's own, "
            f"{own.not_before} to {own.not_after}",
        )


def _check_validity(request: Request, most_seconds: int) -> None:
    seconds = request.not_after - request.not_before
    if seconds > most_seconds:
        raise RefusalError("validity", f"{seconds} s are more than {most_seconds} s")


def _check_point(public_key: bytes) -> None:
    try:
        ed25519.point(public_key)
    except ed25519.GroupError as error:
        raise RefusalError("key", f"{public_key.hex()}: {error}") from error


def _listed(values: Sequence[str]) -> str:
    return shown(", ".join(values) or "nothing")
