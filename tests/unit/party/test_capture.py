"""A stream of a program: it is passed on, cut in the middle, and never large."""

import os

import pytest

from e3.party.capture import CHUNK_BYTES, TAIL_BYTES, Capture

pytestmark = pytest.mark.unit


def captured(written: bytes, keep_bytes: int) -> tuple[str, str, int]:
    """Return what is passed on at once, what at the end, and how much was written."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    capture = Capture("stdout", reading, keep_bytes)
    now = ""
    while written:
        count = os.write(writing, written[:CHUNK_BYTES])
        written = written[count:]
        now += capture.read()
    os.close(writing)
    while capture.open:
        now += capture.read()
    return now, "".join(capture.finish()), capture.total_bytes


def test_what_fits_is_passed_on_as_it_comes() -> None:
    assert captured(b"one\ntwo", 100) == ("one\ntwo", "", 7)


def test_the_middle_is_left_out() -> None:
    written = b"a" * 10 + b"b" * 50_000 + b"c" * TAIL_BYTES
    now, rest, total = captured(written, 10)
    assert now == "a" * 10
    assert rest == "\n[50000 bytes of stdout left out]\n" + "c" * TAIL_BYTES
    assert total == len(written)


def test_what_exceeds_by_less_than_the_tail_is_complete() -> None:
    now, rest, _ = captured(b"a" * 10 + b"b" * 100, 10)
    assert now + rest == "a" * 10 + "b" * 100


def test_characters_survive_being_cut() -> None:
    text = "é" * CHUNK_BYTES
    now, rest, _ = captured(b"x" + text.encode(), 3 * CHUNK_BYTES)
    assert now + rest == "x" + text


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert captured(b"\xff\xfe\n\xc3", 100) == ("��\n", "�", 4)


def test_nothing_is_there_yet() -> None:
    reading, writing = os.pipe()
    capture = Capture("stdout", reading, 10)
    assert capture.read() == ""
    assert capture.open
    os.close(writing)
    assert capture.read() == ""
    assert not capture.open
    capture.close()
