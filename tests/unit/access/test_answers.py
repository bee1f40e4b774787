"""Whatever a host answers over SSH is a value of the form that was asked for, or its error."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.access import answers
from e3.access.answers import Done, Ended, Sizes, Wanted
from e3.errors import HostError
from e3.inventory.survey import Seen

pytestmark = pytest.mark.unit

KINDS: list[Any] = [Wanted, Sizes, Done, Ended, Seen]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
NAMES = st.sampled_from(["wanted", "sizes", "done", "died", "lines", "refused", "errno", "path"])
ANSWERS = st.one_of(
    st.binary(), JSON.map(json.dumps).map(str.encode), st.dictionaries(NAMES, JSON).map(json.dumps)
)


@given(line=ANSWERS, kind=st.sampled_from(KINDS))
def test_any_answer_is_a_value_or_an_error_that_names_the_host(
    line: bytes | str, kind: type
) -> None:
    data = line.encode() if isinstance(line, str) else line
    error = ""
    try:
        answers.decode("ams3-0", data, kind)
    except HostError as refusal:
        error = str(refusal)
    assert error == "" or error.startswith("host ams3-0 ")
    assert error.isprintable()


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("{}", Wanted),
        ('{"wanted": 3}', Wanted),
        ('{"wanted": ["0"]}', Wanted),
        ('{"wanted": [-1]}', Wanted),
        ('{"sizes": {"a": -1}}', Sizes),
        ('{"sizes": {"a": 1e12}}', Sizes),
        ('{"sizes": []}', Sizes),
        ("{}", Done),
        ('{"died": "x", "lines": "none"}', Ended),
        ("[" * 100_000, Done),
        ("null", Done),
        ('{"errno": "EPERM"}', Done),
    ],
)
def test_answers_of_another_form_are_errors(line: str, kind: type) -> None:
    with pytest.raises(HostError, match="host ams3-0 did not do what it should: "):
        answers.decode("ams3-0", line.encode(), kind)


def test_right_answers() -> None:
    assert answers.decode("h", b'{"wanted": [0, 2]}', Wanted).wanted == [0, 2]
    assert answers.decode("h", b'{"sizes": {"/a": 5}}', Sizes).sizes == {"/a": 5}
    assert answers.decode("h", b'{"died": "x", "lines": ["y"]}', Ended).lines == ["y"]
    assert answers.decode("h", b'{"done": true}', Ended).died == ""


def test_refusals_are_errors_with_their_cause() -> None:
    with pytest.raises(HostError, match="host h has no user") as refusal:
        answers.decode("h", b'{"refused": "has no user \\u001b"}', Done)
    assert "\x1b" not in str(refusal.value)
    with pytest.raises(HostError, match="host h refuses a file: /a: full") as refusal:
        answers.decode("h", b'{"errno": 28, "reason": "full", "path": "/a"}', Done)
    assert isinstance(refusal.value.__cause__, OSError)
    assert refusal.value.__cause__.errno == 28


@pytest.mark.parametrize("wanted", [[3], [0, 0], [1, 0]])
def test_files_that_were_not_offered_are_not_sent(wanted: list[int]) -> None:
    answers.check_wanted("h", [0, 2], 3)
    with pytest.raises(HostError, match="host h asks for files"):
        answers.check_wanted("h", wanted, 3)


def test_files_that_were_not_asked_for_are_not_read() -> None:
    asked = {"/a": "/a", "/b": "/b"}
    answers.check_sizes("h", {"/a": 1}, asked)
    with pytest.raises(HostError, match="nobody asked for"):
        answers.check_sizes("h", {"/c": 1}, asked)
    with pytest.raises(HostError, match="host h sends 80 MB of files"):
        answers.check_sizes("h", {"/a": 40_000_000, "/b": 40_000_000}, asked)


class Stream:
    """As asyncssh reads: `readline` returns a piece without an end once its buffer is full."""

    def __init__(self, *pieces: bytes, endless: bytes = b"") -> None:
        self._left = list(pieces)
        self._endless = endless

    async def readline(self) -> bytes:
        return self._left.pop(0) if self._left else self._endless

    async def read(self, _most: int) -> bytes:
        return await self.readline()


def test_lines_and_outputs_are_bounded() -> None:
    assert asyncio.run(answers.read_line("h", Stream(b"a", b"b\n", b"c"))) == b"ab\n"
    assert asyncio.run(answers.read_line("h", Stream(b"a"))) == b"a"
    with pytest.raises(HostError, match="host h answers with more than"):
        asyncio.run(answers.read_line("h", Stream(endless=b"x" * 1000)))

    class Process:
        stdout, stderr = Stream(b"a", b"b"), Stream(endless=b"x" * 1_000_000)

    with pytest.raises(HostError, match="host h writes more than 64 MB"):
        asyncio.run(answers.read_all("h", Process()))  # type: ignore[arg-type]  # what is used of it
