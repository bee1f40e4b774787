"""A holder's own record of what it helped to make and to sign: a chain that it signs.

Each entry has the digest of the one before, so that none can be left out, and the signature of the
host's own key. It is written before a share of a signature leaves the host.
"""

import base64
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, TypeVar

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

TAIL_BYTES = 65_536
"""Read at once from the end of a log: most entries are shorter."""

T = TypeVar("T")

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


class Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """Of an entry, its number."""

    number: Annotated[int, Meta(ge=0)]


class Attended(msgspec.Struct, frozen=True, kw_only=True):
    """Of an entry, what kind of ceremony it was, and which."""

    kind: Kind
    ceremony: Bytes32


def append(path: Path, key: SigningKey, entry: Entry) -> None:
    """Add an entry; its number and the digest before it are set here.

    Of the log, only its last entry is read: what it costs does not grow with it.
    """
    private.folder(path.parent)
    with os.fdopen(private.descriptor(path, os.O_RDWR | os.O_APPEND), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # else another ceremony could follow the same entry
        number, previous = 0, START
        if (last := _last(file)) is not None:
            number, previous = _decoded(last.body, Numbered).number + 1, digest(last.body)
        numbered = msgspec.structs.replace(entry, number=number, previous=previous)
        file.seek(0, os.SEEK_END)
        file.write(encode(speak(key, NOBODY, CHAIN, numbered)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _last(file: BinaryIO) -> Envelope | None:
    """Return the last entry; remove what a crash cut off behind it."""
    size = end = file.seek(0, os.SEEK_END)
    tail = b""
    while end and tail.count(b"\n") < 2:  # noqa: PLR2004 -- one before the line, one after it
        begin = max(0, end - TAIL_BYTES)
        file.seek(begin)
        tail, end = file.read(end - begin) + tail, begin
    whole, _, cut = tail.rpartition(b"\n")
    if cut:
        file.truncate(size - len(cut))
    line = whole.rpartition(b"\n")[2]
    return _decoded(line, Envelope) if line else None


def entries(path: Path) -> list[Envelope]:
    """Return the entries of a log; a last line that a crash cut off is left out."""
    return entries_of(_lines(path))


def entries_of(lines: Sequence[bytes]) -> list[Envelope]:
    """Return the entries in lines of a log."""
    return [_decoded(line, Envelope) for line in lines]


def page(path: Path, first: int, most: int, most_bytes: int) -> tuple[list[Envelope], int]:
    """Return some entries from the one numbered ``first``, and how many there are.

    They are ``most`` entries and ``most_bytes`` at most, but one if there is one.
    """
    lines = _lines(path)
    found: list[Envelope] = []
    size = 0
    for line in lines[first : first + most]:
        each = _decoded(line, Envelope)
        size += len(each.body)
        if found and size > most_bytes:
            break
        found.append(each)
    return found, len(lines)


def _lines(path: Path) -> list[bytes]:
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [line for line in lines if line]


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return decode(data, kind)
    except msgspec.MsgspecError as error:
        raise LogError(f"the log of this host is damaged: {error}") from None


def has(path: Path, kind: Kind, ceremony: bytes) -> bool:
    """Whether a log has an entry of this ceremony.

    It is not looked for as text alone: what was signed may have the same text among its values.
    """
    text, wanted = base64.b64encode(ceremony), Attended(kind=kind, ceremony=ceremony)
    bodies = (_decoded(line, Envelope).body for line in reversed(_lines(path)))
    return any(_decoded(body, Attended) == wanted for body in bodies if text in body)


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
