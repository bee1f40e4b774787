"""Encoded certificates with one bit changed, which whoever reads them has to refuse."""

import base64
import textwrap


def bits_of_pem(text: str) -> int:
    """Return of how many bits the content of a PEM block is."""
    return 8 * len(_content(text))


def flipped(data: bytes, bit: int) -> bytes:
    """Return the bytes with one bit changed."""
    at, place = divmod(bit, 8)
    return data[:at] + bytes([data[at] ^ 1 << place]) + data[at + 1 :]


def flipped_pem(text: str, bit: int) -> str:
    """Return a PEM block with one bit of its content changed."""
    first, *_, last = text.splitlines()
    changed = base64.b64encode(flipped(_content(text), bit)).decode()
    return "\n".join([first, *textwrap.wrap(changed, 64), last, ""])


def _content(text: str) -> bytes:
    return base64.b64decode("".join(text.splitlines()[1:-1]))
