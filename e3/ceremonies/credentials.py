"""Credentials of a joint authority: issued, listed and revoked from the machine that deploys.

The holders sign; what was issued is in a file of the stack's ceremonies, with places of the status
list but without the credentials themselves. Holders remember what is revoked by themselves.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from e3 import private
from e3.access import host_from_properties
from e3.authority import credentials
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.requests import RequestError
from e3.authority.joint.requests.credential import LIST_BITS, did_of
from e3.ceremonies.signer import JointSigner
from e3.didcomm import did as dids
from e3.errors import AuthorityError
from e3.remote.text import printable

PURPOSE = "credentials"
REGISTER = "credentials.json"
LONGEST_SECONDS = 30 * 86_400
"""The longest validity of a credential, and of a list of revoked ones."""

LIST_SECONDS = 86_400


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A credential that was issued; ``not_after`` is a Unix time, ``place`` that in the list."""

    identifier: str
    subject: str
    claims: dict[str, str]
    place: int
    not_after: int
    revoked: bool = False


def status_url(stack: str) -> str:
    """Return the name of a stack's list of revoked credentials."""
    return f"urn:e3:status:{stack}"


def key_text(public_key: bytes) -> str:
    """Return the issuer of the credentials of a key: its did:key."""
    return did_of(Point(public_key))


async def issue(  # noqa: PLR0913 - what a credential is made of
    given: Mapping[str, Any],
    stack: str,
    subject: str,
    claims: Mapping[str, str],
    seconds: int,
    *,
    selective: bool = False,
) -> tuple[Issued, str]:
    """Return a new credential as it is listed, and as JWT; ``subject`` is a DID.

    If ``selective`` it is an SD-JWT, of which the holder can show chosen claims.
    """
    dids.syntax(subject)
    with _register(given) as issued:
        taken = {each.place for each in issued if each.revoked or each.not_after > time.time()}
        status = credentials.place(status_url(stack), taken)
        try:
            request = credentials.asked(subject, claims, status=status, seconds=seconds)
        except RequestError as error:
            raise AuthorityError(f"no such credential can be issued: {error}") from None
        asked = credentials.selective(request) if selective else request
        text = await credentials.issue(_signer(given), asked)
        made = Issued(
            identifier=request.identifier,
            subject=subject,
            claims=request.claims,
            place=status.index,
            not_after=request.not_after,
        )
        issued.append(made)
        return made, text


def listed(given: Mapping[str, Any]) -> list[Issued]:
    """Return what was issued and is still valid, or revoked."""
    with _register(given) as issued:
        return list(issued)


async def revocations(
    given: Mapping[str, Any], stack: str, revoke: Sequence[str] = (), seconds: int = LIST_SECONDS
) -> str:
    """Return the list of revoked credentials as JWT, after revoking some.

    Each is named by its identifier or, if it is not listed here any more, by its place.
    """
    with _register(given) as issued:
        for each in revoke:
            _revoke(issued, each)
        places = [each.place for each in issued if each.revoked]
        return await credentials.publish(_signer(given), status_url(stack), places, seconds=seconds)


def _revoke(issued: list[Issued], name: str) -> None:
    for number, each in enumerate(issued):
        if name and name in {each.identifier, str(each.place)}:
            issued[number] = msgspec.structs.replace(each, revoked=True)
            return
    if not (name.isdecimal() and int(name) < LIST_BITS):
        raise AuthorityError(
            f"no credential '{printable(name)}' was issued here that is still valid; "
            "`e3 authority credentials` lists those that were"
        )
    issued.append(
        Issued(identifier="", subject="", claims={}, place=int(name), not_after=0, revoked=True)
    )


@contextmanager
def _register(given: Mapping[str, Any]) -> Iterator[list[Issued]]:
    """Yield what was issued, for one process at a time; what the caller changes is kept."""
    folder = private.folder(Path(given["joint"]["folder"]))
    lock = private.descriptor(folder / f"{REGISTER}.lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = folder / REGISTER
        issued = _read(path)
        yield issued
        now = time.time()
        kept = [each for each in issued if each.revoked or each.not_after > now]
        private.write(path, msgspec.json.encode(kept))
    finally:
        os.close(lock)


def _read(path: Path) -> list[Issued]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Issued])
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError as error:
        raise AuthorityError(
            f"{path} is damaged: {error}; bring back a copy, or remove it: then credentials can be "
            "revoked by their place alone, with `e3 authority revoke PLACE`"
        ) from None


def _signer(given: Mapping[str, Any]) -> JointSigner:
    joint = given["joint"]
    return JointSigner(
        folder=Path(joint["folder"]),
        purpose=joint["purpose"],
        public_key=bytes.fromhex(joint["publicKey"]),
        hosts=[host_from_properties(host) for host in joint["hosts"]],
    )
