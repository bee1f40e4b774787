import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.remote.text import LINE_LENGTH, printable, printable_lines

pytestmark = pytest.mark.unit

ANYTHING = st.text(st.characters(exclude_categories=[]))
"""Surrogates too, which most strategies leave out."""


@given(ANYTHING, st.integers(min_value=0, max_value=50))
def test_one_line_of_anything_can_be_printed(text: str, most: int) -> None:
    line = printable(text, most)
    assert line.isprintable()
    assert len(line) <= most + len("...")
    line.encode()


@given(ANYTHING)
def test_lines_of_anything_can_be_printed(text: str) -> None:
    lines = printable_lines(text)
    assert lines.replace("\n", "").replace("\t", "").isprintable()
    assert lines.count("\n") == text.count("\n")
    lines.encode()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("three parties", "three parties"),
        ("Grüße 👋", "Grüße 👋"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("a\nb", r"a\nb"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udc80", r"\udc80"),
        (None, "None"),
    ],
)
def test_what_acts_is_escaped(text: object, line: str) -> None:
    assert printable(text) == line


def test_the_length_is_bounded_before_anything_is_done_with_it() -> None:
    huge = "\x1b" * 50_000_000
    line = printable(huge)
    assert len(line) == LINE_LENGTH + 3
    assert sys.getsizeof(line) < 1000
