"""A holder's own record of what it helped to make and to sign: a chain that it signs.

Each entry has the digest of the one before, so that none can be left out, and the signature of the
host's own key. It is written before a share of a signature leaves the host.
"""

import base64
import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from nacl.signing import SigningKey

from e3 import private
from e3.authority.joint.channel import digest, speak, verify
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.messages import (
    MOST_HOLDERS,
    MOST_MESSAGES,
    Body,
    Bytes32,
    Envelope,
    Text,
    Word,
    decode,
    encode,
)

CHAIN = b"E3-LOG-v1"
START = bytes(32)
NOBODY = 1
"""The sender of an entry: a log is one holder's, so it numbers nobody."""

Kind = Literal["shares", "signatures", "certificate", "refused"]


class LogError(CeremonyError):
    """A log is damaged, or is not the chain that its holder signed."""


class Entry(Body, frozen=True, kw_only=True):
    """What a holder did: its number, the digest of the entry before, when, and what.

    ``ceremony`` is the digest of the ceremony, the same for all who took part, ``holders`` their
    names, and ``what`` a line for each request. ``time`` is a Unix time.
    """

    number: Annotated[int, Meta(ge=0)]
    previous: Bytes32
    time: int
    kind: Kind
    purpose: Word
    epoch: Annotated[int, Meta(ge=0)]
    ceremony: Bytes32
    holders: Annotated[list[Word], Meta(max_length=MOST_HOLDERS)]
    what: Annotated[list[Text], Meta(max_length=MOST_MESSAGES)]


def append(path: Path, key: SigningKey, entry: Entry) -> None:
    """Add an entry; its number and the digest before it are set here."""
    private.folder(path.parent)
    with os.fdopen(private.descriptor(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # else another ceremony could follow the same entry
        _cut(path)
        said = entries(path)
        previous = digest(said[-1].body) if said else START
        numbered = msgspec.structs.replace(entry, number=len(said), previous=previous)
        file.write(encode(speak(key, NOBODY, CHAIN, numbered)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _cut(path: Path) -> None:
    """Remove a last line that a crash cut off."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def entries(path: Path) -> list[Envelope]:
    """Return the entries of a log; a last line that a crash cut off is left out."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    try:
        return [decode(line, Envelope) for line in lines[:-1] if line]
    except (msgspec.MsgspecError, json.JSONDecodeError) as error:
        raise LogError(f"the log of this host is damaged: {error}") from None


def has(path: Path, ceremony: bytes) -> bool:
    """Whether a log has an entry of this ceremony."""
    wanted = base64.b64encode(ceremony)
    return any(wanted in each.body for each in reversed(entries(path)))


def check(key: bytes, said: Sequence[Envelope]) -> list[Entry]:
    """Return the entries of a whole log; raise `LogError` unless they are one chain of the key."""
    found: list[Entry] = []
    previous = START
    for number, each in enumerate(said):
        entry = verify(each, key, CHAIN, Entry)
        if entry.number != number or entry.previous != previous:
            raise LogError(f"entry {number} of a log does not follow the one before")
        previous = digest(each.body)
        found.append(entry)
    return found
