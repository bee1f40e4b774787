"""The messages of the agreement as bytes; bytes of other protocols are identified.

A message is a header (magic, version of this format, kind, length) and a body. The magic begins
with 0xFFFF: an MPyC that listens at the endpoint takes the first two bytes for the index of a
party. No computation has so many parties, so MPyC closes the connection and uses nothing of it.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from e3.party.fields import NAME_LENGTH, VALUE_LENGTH, Value
from e3.remote.text import printable

VERSION = 2
"""The version of this format."""

MAGIC = b"\xff\xffE3\r\n"
HEADER = struct.Struct(">6sBBI")

LIMIT_BYTES = 65_536
"""The largest body; a statement has a few hundred bytes and the addresses."""

LIMIT_FACTS = 64
"""The most facts of a statement, which has some thirty."""

FACT = re.compile(rf"[a-z][a-z0-9_]{{0,{NAME_LENGTH - 1}}}")
"""The form of a fact's name, also of a fact that only another version knows."""

LIMIT_OFF_BYTES = 2048
"""The largest body of a message that calls the agreement off."""

STATEMENT, AGREED, OFF = 1, 2, 3
"""Kinds: what I am about to run; it equals what all others run; the agreement failed, and why."""

LIMITS = {STATEMENT: LIMIT_BYTES, AGREED: 0, OFF: LIMIT_OFF_BYTES}

Message = tuple[int, bytes]
"""Kind and body."""

WORD_BITS = 64
"""The most bits of an integer in a statement."""

DETAIL_LENGTH = 150
"""The most characters of a reason."""

PEEK = 16
"""The most bytes of another protocol that are shown."""


class ForeignError(Exception):
    """What arrived is no message of the agreement; the error says what it looks like."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement as it arrived: party ``pid`` tells party ``to`` what it is about to run.

    A peer wrote all of it; its size is bounded. Whether ``pid`` is a party is not checked yet.
    """

    pid: int
    to: int
    facts: Mapping[str, Value]


def pack(kind: int, body: bytes = b"") -> bytes:
    """Return a message as it is sent."""
    return HEADER.pack(MAGIC, VERSION, kind, len(body)) + body


def unpack(incoming: bytearray, m: int) -> Message | None:
    """Take the first message out of what has arrived; None while it is not complete.

    Raises `ForeignError` as soon as it cannot become one, so that no time is spent on waiting for
    the rest.
    """
    start = bytes(incoming[: len(MAGIC)])
    if not MAGIC.startswith(start):
        raise ForeignError(f"speaks {identify(bytes(incoming), m)} instead of E3's agreement")
    if len(incoming) < HEADER.size:
        return None
    _, version, kind, length = HEADER.unpack_from(incoming)
    if version != VERSION:
        raise ForeignError(f"speaks version {version} of E3's agreement, not {VERSION}")
    if kind not in LIMITS:
        raise ForeignError(f"sent a message of unknown kind {kind}")
    if length > LIMITS[kind]:
        raise ForeignError(f"announced a message of {length} bytes")
    end = HEADER.size + length
    if len(incoming) < end:
        return None
    body = bytes(incoming[HEADER.size : end])
    del incoming[:end]
    return kind, body


def decode(body: bytes) -> Claim:
    """Return the claim in a body; raise `ForeignError` if it is invalid."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ForeignError("sent a message that says nothing readable")
    pid, to, facts = value.get("pid"), value.get("to"), value.get("facts")
    if not isinstance(pid, int) or not isinstance(to, int) or {type(pid), type(to)} != {int}:
        raise ForeignError("stated nothing")
    if not is_comparable(pid) or not is_comparable(to) or not isinstance(facts, dict) or not facts:
        raise ForeignError("stated nothing")
    if len(facts) > LIMIT_FACTS or not all(map(FACT.fullmatch, facts)):
        raise ForeignError("stated facts that no version of E3 has")
    if not all(map(is_comparable, facts.values())):
        raise ForeignError("stated what nobody can compare")
    return Claim(pid=pid, to=to, facts=facts)


def pack_off(peer: int | None, detail: str) -> bytes:
    """Return the message that calls the agreement off because of what ``peer`` did."""
    reason = {"peer": peer, "detail": printable(detail, DETAIL_LENGTH)}
    return pack(OFF, json.dumps(reason).encode())


def decode_off(body: bytes, m: int) -> tuple[int | None, str]:
    """Return the party of ``m`` that a sender blames, and for what; the sender may lie."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("detail"), str):
        raise ForeignError("called the agreement off in words that nobody can read")
    peer = value.get("peer")
    known = type(peer) is int and 0 <= peer < m
    return peer if known else None, printable(value["detail"], DETAIL_LENGTH)


def is_comparable(value: object) -> bool:
    """Return whether a value may be in a statement: small, and no container."""
    if isinstance(value, str):
        return len(value) <= VALUE_LENGTH and encodable(value)
    return value is None or (isinstance(value, int) and value.bit_length() < WORD_BITS)


def encodable(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair, which JSON can escape."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def identify(data: bytes, m: int) -> str:
    """Return which protocol the first bytes of a connection look like, with ``m`` parties."""
    if data.startswith((b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"HTTP/", b"PRI ")):
        return "HTTP"
    if data.startswith(b"SSH-"):
        return "SSH"
    if data.startswith((b"\x16\x03", b"\x15\x03")):
        return "TLS (MPyC with --ssl, or something else)"
    index = int.from_bytes(data[:2], "little")
    # index and PRSS keys of 16 bytes each come in one piece, if there are any keys
    if len(data) >= 2 and index < m and (len(data) - 2) % 16 == 0:  # noqa: PLR2004 -- as above
        return f"MPyC without E3 (as party {index})"
    return f"something unknown ({data[:PEEK].hex(' ')})"
