"""What parties printed is compared to the end, and shown where it differs."""

import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.session.comparison import PIECE_BYTES, Printed, compare, diff, first_difference
from e3.session.transcript import Transcript
from e3.session.verdicts import Verdict

pytestmark = pytest.mark.unit

MB = 1_000_000


def transcript(text: str, most: int = 100) -> Transcript:
    made = Transcript(most)
    for i in range(0, len(text), 7000):
        made.add(text[i : i + 7000])
    return made


def printed(*outputs: str) -> list[Printed]:
    return [
        Printed(pid=i, host=f"h{i}", output=transcript(output)) for i, output in enumerate(outputs)
    ]


def test_outputs_that_are_the_same() -> None:
    assert compare(printed("a\n", "a\n")) is None


@pytest.mark.parametrize(
    ("outputs", "parties", "reason"),
    [
        (("a", "b", "b"), (0,), "party 0 (h0) printed something else than party 1 (h1): line 1 is"),
        (("a", "b"), (1,), "line 1 is 'b' and not 'a'"),
        (("a\nb", "a"), (1,), "line 2 is missing and not 'b'"),
        (("a\nb", "a\n"), (1,), "line 2 is missing and not 'b'"),
        (("a", "a\n"), (1,), "line 1 is 'the same with another end' and not 'the same'"),
        (("a\n\x1b", "a\n"), (1,), r"line 2 is missing and not '\x1b'"),
        (
            (f"1\n{'x' * 1000}ab", f"1\n{'x' * 1000}cb"),
            (1,),
            (
                f"line 2, which differs from byte 1001 on, is '...{'x' * 20}cb' and not "
                f"'...{'x' * 20}ab'"
            ),
        ),
    ],
)
def test_outputs_that_differ(
    outputs: tuple[str, ...], parties: tuple[int, ...], reason: str
) -> None:
    outcome = compare(printed(*outputs))
    assert outcome is not None
    assert (outcome.verdict, outcome.parties) == (Verdict.DIVERGED, parties)
    assert reason in outcome.reason


def test_a_difference_after_megabytes_is_found_in_little_memory() -> None:
    lines = "".join(f"line {i:09}\n" for i in range(400_000))
    parties = printed(lines + "one\n", lines + "one\n", lines + "two\n")
    tracemalloc.start()
    try:
        outcome, shown = compare(parties), diff(parties)
        assert tracemalloc.get_traced_memory()[1] < MB
    finally:
        tracemalloc.stop()
    assert outcome is not None
    assert "line 400001 is 'two' and not 'one'" in outcome.reason
    assert shown.splitlines()[2:] == [
        "@@ -399999,3 +399999,3 @@",
        " line 000399998",
        " line 000399999",
        "-one",
        "+two",
    ]


def test_a_diff_is_against_what_most_printed() -> None:
    assert diff(printed("1\n2\n", "1\n2\n", "1\n3\n")).splitlines() == [
        "--- party 0 (h0)",
        "+++ party 2 (h2)",
        "@@ -1,2 +1,2 @@",
        " 1",
        "-2",
        "+3",
    ]


def test_a_diff_of_long_lines_shows_where_they_differ() -> None:
    shown = diff(printed("x" * 300_000 + "a" + "y" * 9, "x" * 300_000 + "b" + "y" * 9))
    removed, added = (line for line in shown.splitlines() if line[:4] in {"-...", "+..."})
    assert "xayyyyyyyyy" in removed
    assert "xbyyyyyyyyy" in added
    assert len(shown) < 2000


def test_a_missing_line_break_is_in_the_diff() -> None:
    assert "+[no line break at the end]" in diff(printed("a\n", "a")).splitlines()


TEXTS = st.text(alphabet="ab\n\u20ac", max_size=12)


@given(before=st.sampled_from([0, 3, PIECE_BYTES - 1, PIECE_BYTES]), one=TEXTS, two=TEXTS)
def test_the_first_difference_is_where_it_is(before: int, one: str, two: str) -> None:
    outputs = ["z" * before + one, "z" * before + two]
    parties = printed(*outputs)
    outcome = compare(parties)
    assert (outcome is None) == (one == two)
    if outcome is None:
        return
    place = first_difference(parties[0].output, parties[1].output)
    first, second = (output.encode() for output in outputs)
    pairs = enumerate(zip(first, second, strict=False))
    length = next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))
    assert (place.differs, place.line) == (length, first.count(b"\n", 0, length) + 1)
    assert place.start == first.rfind(b"\n", 0, length) + 1
    assert diff(parties).startswith("--- party")


def test_an_excerpt_tells_contents_apart_that_it_does_not_show() -> None:
    texts = ["a" * 100 + each + "b" * 100 for each in "xyx"]
    same = [str(transcript(text, 20)) for text in texts]
    assert same[0] == same[2]
    assert same[0] != same[1]
    assert all("[181 characters left out, see the log; SHA-256" in each for each in same)


@given(texts=st.lists(st.text(st.characters(codec=None)), max_size=20), most=st.integers(0, 40))
def test_a_transcript_has_everything(texts: list[str], most: int) -> None:
    made = Transcript(most)
    for text in texts:
        made.add(text)
    whole = "".join(texts)
    data = "".join(texts).encode("utf-8", "surrogatepass")
    assert made.read(0, len(data) + 1) == data
    assert made.size_bytes == len(data)
    assert made.blank == (not whole.strip())
    for start, end in pairwise(range(0, len(data) + 1, 5)):
        assert made.read(start, 5) == data[start:end]
    made.close()


def test_a_full_disk_leaves_the_digest(tmp_path: Path) -> None:
    made, other = Transcript(10), Transcript(10)
    made.folder = other.folder = tmp_path / "gone"
    made.add("x" * 100)
    other.add("x" * 99 + "y")
    parties = [Printed(pid=i, host=f"h{i}", output=each) for i, each in enumerate((made, other))]
    outcome = compare(parties)
    assert outcome is not None
    assert outcome.verdict is Verdict.DIVERGED
