"""A stream of a program: all of it is passed on, and nothing stays."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.party.capture import CHUNK_BYTES, Capture
from e3.session.events import Printed

pytestmark = pytest.mark.unit


def captured(written: bytes) -> list[str]:
    """Return the texts that are passed on."""
    reading, writing = os.pipe()
    capture = Capture("stdout", reading)
    total = len(written)
    texts = []
    while written:
        # a chunk and a half, so that chunks end anywhere
        written = written[os.write(writing, written[: CHUNK_BYTES * 3 // 2]) :]
        texts.append(capture.read())
    os.close(writing)
    while capture.open:
        texts.append(capture.read())
    assert capture.total_bytes == total
    return [*texts, capture.finish()]


@given(text=st.text(), times=st.integers(1, 2000))
def test_all_is_passed_on(text: str, times: int) -> None:
    written = (text * times).encode(errors="replace")[:100_000]
    assert "".join(captured(written)).encode(errors="backslashreplace").startswith(written[:-3])


@pytest.mark.parametrize("piece", ["\xff", "\xe9", "\u20ac", "\U0001f600"])
def test_characters_survive_the_end_of_a_chunk(piece: str) -> None:
    text = "x" + piece * CHUNK_BYTES
    assert "".join(captured(text.encode())) == text


def test_bytes_that_are_no_text_are_told_apart() -> None:
    assert "".join(captured(b"\xff\xfe\n\xc3")) == "\\xff\\xfe\n\\xc3"


def test_the_longest_text_fits_in_an_event() -> None:
    longest = max(map(len, captured(b"\xff" * CHUNK_BYTES * 3)))
    (most,) = (meta.max_length for meta in Printed.__annotations__["text"].__metadata__)
    assert longest + 4 * 3 <= most


def test_nothing_is_there_yet() -> None:
    reading, writing = os.pipe()
    capture = Capture("stdout", reading)
    assert capture.read() == ""
    assert capture.open
    os.close(writing)
    capture.close()
