"""Verify credentials that `e3.authority.credentials` issued.

What should have been signed is made anew from what a credential says, and compared: so each has
one encoding, and no member that is not understood.
"""

import time
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from e3.authority.joint.ed25519 import GroupError, Point, point
from e3.authority.joint.requests import Credential, RequestError, Status, StatusList
from e3.authority.joint.requests.credential import (
    SELECTIVE,
    Entry,
    Header,
    Payload,
    Uuid,
    base64url,
    payload_of,
    revoked_in,
    signed_bytes,
)
from e3.authority.joint.requests.fields import verify as verify_signature
from e3.authority.joint.requests.selective import SEPARATOR, Hidden, digest, disclosed
from e3.didcomm import did as dids
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import unbase64
from e3.errors import AuthorityError
from e3.remote.text import printable

CLOCK_SECONDS = 60
"""How far the clocks of an issuer and a verifier may differ."""

MOST_CHARACTERS = 65_536

UUID = "urn:uuid:"

T = TypeVar("T", Credential, StatusList)


class CredentialError(AuthorityError):
    """A credential is not accepted."""


class MalformedError(CredentialError):
    """A text is not a credential of the kind that E3 issues."""


class ForgedError(CredentialError):
    """A credential is of another issuer, or not signed by this one."""


class ExpiredError(CredentialError):
    """A credential is not valid any more."""


class EarlyError(CredentialError):
    """A credential is not valid yet."""


class SubjectError(CredentialError):
    """A credential is bound to a DID other than that of the party that shows it."""


class RevokedError(CredentialError):
    """A credential is revoked."""


class StatusError(CredentialError):
    """Whether a credential is revoked cannot be told: there is no list, or another."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a credential says that was verified; ``not_after`` is a Unix time."""

    identifier: str
    issuer: str
    subject: str
    claims: Mapping[str, str]
    not_after: int


def verify(
    text: str, *, issuer: str, subject: str, revocations: str = "", now: float | None = None
) -> Verified:
    """Return what a credential says; raise a `CredentialError` unless it is valid now.

    ``issuer`` is the did:key of the authority, ``subject`` the DID of the party that shows it,
    which the caller has authenticated. ``revocations`` is the authority's current list, which a
    credential that can be revoked needs.
    """
    when = time.time() if now is None else now
    request: Credential | _Shown
    if SEPARATOR in text:
        request = _read_selective(text, issuer)
    else:
        request = _read(text, issuer, Credential)
    _check_time("the credential", request, when)
    if request.subject != subject:
        raise SubjectError(
            f"the credential is of {printable(request.subject, 80)}, "
            f"but {printable(subject, 80)} shows it"
        )
    if request.status is not None:
        _check_status(request, issuer, revocations, when)
    return Verified(
        identifier=request.identifier,
        issuer=issuer,
        subject=request.subject,
        claims=request.claims,
        not_after=request.not_after,
    )


def shown(text: str, claims: Container[str]) -> str:
    """Return what a holder shows of a credential: these claims alone, if it is an SD-JWT.

    Any other credential is shown whole. Nothing is verified here.
    """
    if SEPARATOR not in text:
        return text
    signed, *disclosures, _ = text.split(SEPARATOR)
    kept = [each for each in disclosures if _name(each) in claims]
    return "".join(f"{part}{SEPARATOR}" for part in (signed, *kept))


def claims_of(text: str) -> tuple[str, dict[str, str]]:
    """Return issuer and claims of a holder's own credential, of either form; nothing is verified.

    Raises `MalformedError` for a text that is no credential.
    """
    signed, *disclosures = text.split(SEPARATOR)
    with _explained():
        payload = unbase64(signed.split(".")[1])
        if disclosures:
            hidden = msgspec.json.decode(payload, type=Payload[Hidden])
            return hidden.issuer, dict(disclosed(each) for each in disclosures if each)
        said = msgspec.json.decode(payload, type=Payload[dict[str, str]])
        return said.issuer, said.credentialSubject


def _name(text: str) -> str:
    with _explained():
        return disclosed(text)[0]


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """An SD-JWT, and those of its claims that are shown; see `payload_of`."""

    identifier: str
    subject: str
    status: Status | None
    not_before: int
    not_after: int
    claims: Mapping[str, str]


def _read_selective(text: str, issuer: str) -> _Shown:
    """Return what an SD-JWT of ``issuer`` shows; the signature is verified, the time is not."""
    key = _key(issuer)
    if len(text) > MOST_CHARACTERS:
        raise MalformedError(f"a credential of {len(text)} characters is too long")
    signed, *disclosures, binding = text.split(SEPARATOR)
    if binding:
        raise MalformedError("the credential has a key binding, which E3 does not use")
    with _explained():
        header, payload, signature = map(unbase64, signed.split("."))
        said = msgspec.json.decode(payload, type=Payload[Hidden])
        head = msgspec.json.decode(header, type=Header)
        claims = dict(map(disclosed, disclosures))
        request = _Shown(
            identifier=msgspec.convert(said.id.removeprefix(UUID), Uuid),
            subject=said.credentialSubject.id,
            status=msgspec.convert(_status(said), Status | None),
            not_before=said.nbf,
            not_after=said.exp,
            claims=claims,
        )
        made = payload_of(request, issuer, said.credentialSubject, "sha-256")
    if said.issuer != issuer:
        raise ForgedError(f"the credential is of {printable(said.issuer, 80)}, not of {issuer}")
    whole = signed_bytes(head.alg, issuer, made, SELECTIVE)
    if signed != f"{whole.decode()}.{base64url(signature)}":
        raise MalformedError("the credential is not written in the way that E3 writes them")
    _verify(key, whole, signature, issuer)
    digests = list(map(digest, disclosures))
    if len(claims) < len(disclosures) or not set(digests) <= set(said.credentialSubject.digests):
        raise ForgedError("a claim is shown that is not in the credential, or is in it twice")
    return request


def _verify(key: Point, signed: bytes, signature: bytes, issuer: str) -> None:
    try:
        verify_signature(key, signed, signature)
    except RequestError:
        raise ForgedError(f"the signature of the credential is not that of {issuer}") from None


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (ValueError, LookupError, RecursionError, OverflowError, msgspec.MsgspecError) as error:
        raise MalformedError(f"this is no credential: {printable(error, 100)}") from None
    except (DidcommError, RequestError) as error:
        raise MalformedError(f"this is no credential: {printable(error, 200)}") from None


def _check_status(request: Credential | _Shown, issuer: str, revocations: str, now: float) -> None:
    status = request.status
    if status is None:
        return
    if not revocations:
        raise StatusError(f"the list of revoked credentials {status.url} is needed; get it anew")
    known = _read(revocations, issuer, StatusList)
    _check_time("the list of revoked credentials", known, now)
    if known.url != status.url:
        raise StatusError(f"the list is {known.url}, but the credential is in {status.url}")
    if status.index in known.revoked:
        raise RevokedError(f"the credential {request.identifier} is revoked")


def _check_time(what: str, request: Credential | StatusList | _Shown, now: float) -> None:
    if now > request.not_after + CLOCK_SECONDS:
        raise ExpiredError(f"{what} ended {now - request.not_after:.0f} s ago; get a new one")
    if now < request.not_before - CLOCK_SECONDS:
        raise EarlyError(
            f"{what} begins in {request.not_before - now:.0f} s; compare the clocks of both sides"
        )


def _read(text: str, issuer: str, kind: type[T]) -> T:
    """Return what a JWT of ``issuer`` says; the signature is verified, the time is not."""
    key = _key(issuer)
    if len(text) > MOST_CHARACTERS:
        raise MalformedError(f"a credential of {len(text)} characters is too long")
    with _explained():
        header, payload, signature = map(unbase64, text.split("."))
        said = msgspec.json.decode(payload, type=Payload[dict[str, str]])
        request = _request(msgspec.json.decode(header, type=Header), said, kind)
    if said.issuer != issuer:
        raise ForgedError(f"the credential is of {printable(said.issuer, 80)}, not of {issuer}")
    signed = request.to_be_signed(key)
    if text != f"{signed.decode()}.{base64url(signature)}":
        raise MalformedError("the credential is not written in the way that E3 writes them")
    _verify(key, signed, signature, issuer)
    return request


def _key(issuer: str) -> Point:
    try:
        return point(dids.public_key(issuer).public_bytes_raw())
    except (DidcommError, GroupError) as error:
        raise CredentialError(f"the issuer {printable(issuer, 80)} has no key: {error}") from None


def _request(header: Header, payload: Payload[dict[str, str]], kind: type[T]) -> T:
    """Return the request of which a payload was made, if it was made of one."""
    subject = dict(payload.credentialSubject)
    fields: dict[str, object] = {
        "kind": kind.__struct_config__.tag,
        "not_before": payload.nbf,
        "not_after": payload.exp,
        "algorithm": header.alg,
    }
    if kind is StatusList:
        encoded = unbase64(subject["encodedList"].removeprefix("u"))
        fields |= {"url": payload.id, "revoked": revoked_in(encoded)}
    else:
        fields |= {"identifier": payload.id.removeprefix(UUID), "subject": subject.pop("id")}
        fields |= {"claims": subject, "status": _status(payload)}
    return msgspec.convert(fields, kind)


def _status(payload: Payload[Any]) -> dict[str, object] | None:
    entry = payload.credentialStatus
    if not isinstance(entry, Entry):
        return None
    return {"url": entry.statusListCredential, "index": int(entry.statusListIndex)}
