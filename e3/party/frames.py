"""The messages of the agreement as bytes, and what else may come where one is expected.

A message is a header (magic, version of this format, kind, length) and a body. The magic
begins with 0xFFFF: to an MPyC that listens there, the first two bytes are the index of a
party, and no computation has that many; so it drops the connection and computes nothing with it.
"""

from __future__ import annotations

import json
import struct

VERSION = 1
"""Of this format."""

MAGIC = b"\xff\xffE3\r\n"
HEADER = struct.Struct(">6sBBI")

LIMIT_BYTES = 65_536
"""Of a body; a statement has a few hundred bytes and its addresses."""

STATEMENT, AGREED, DIFFERS = 1, 2, 3
"""Kinds: what I am about to run; it is what all others run; it is not."""

Message = tuple[int, bytes]
"""Kind and body."""

PEEK = 16
"""Bytes of something foreign that are shown."""


class ForeignError(Exception):
    """What came is no message of the agreement; the sentence says what it looks like."""


def pack(kind: int, body: bytes = b"") -> bytes:
    """Return a message as it is sent."""
    return HEADER.pack(MAGIC, VERSION, kind, len(body)) + body


def unpack(incoming: bytearray, m: int) -> Message | None:
    """Take the first message out of what has arrived; None while it is not complete.

    Raises `ForeignError` as soon as it cannot become one, so that nobody is waited for or
    listened to for longer than that takes.
    """
    start = bytes(incoming[: len(MAGIC)])
    if not MAGIC.startswith(start):
        raise ForeignError(f"speaks {identify(bytes(incoming), m)} instead of E3's agreement")
    if len(incoming) < HEADER.size:
        return None
    _, version, kind, length = HEADER.unpack_from(incoming)
    if version != VERSION:
        raise ForeignError(f"speaks version {version} of E3's agreement, not {VERSION}")
    if kind not in {STATEMENT, AGREED, DIFFERS}:
        raise ForeignError(f"sent a message of unknown kind {kind}")
    if length > (LIMIT_BYTES if kind == STATEMENT else 0):
        raise ForeignError(f"announced a message of {length} bytes")
    end = HEADER.size + length
    if len(incoming) < end:
        return None
    body = bytes(incoming[HEADER.size : end])
    del incoming[:end]
    return kind, body


def decode(body: bytes) -> dict[str, object]:
    """Return the object in a body; raise `ForeignError` if there is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ForeignError("sent a message that says nothing readable")
    return value


def identify(data: bytes, m: int) -> str:
    """Say what protocol the first bytes of a connection look like, among ``m`` parties."""
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
