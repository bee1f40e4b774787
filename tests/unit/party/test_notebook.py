"""Notebooks: which are refused, what is left out, and that cells run as Jupyter runs them."""

import asyncio
import contextlib
import json
import traceback
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.party import notebook
from e3.party.notebook import NotebookError, Player

pytestmark = pytest.mark.unit


def made(*cells: object, **other: object) -> bytes:
    """Return a notebook with these code cells; a cell may be a dictionary of its own."""
    parts = [
        cell if isinstance(cell, dict) else {"cell_type": "code", "source": cell} for cell in cells
    ]
    return json.dumps({"nbformat": 4, "metadata": {}, "cells": parts, **other}).encode()


@pytest.fixture
def play(capsys: pytest.CaptureFixture[str]) -> Iterator["Played"]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield Played(capsys)
    asyncio.set_event_loop(None)
    loop.close()


class Played:
    """Plays cells in a module of its own; the call returns what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *cells: object) -> str:
        player = Player("x.ipynb", ModuleType("__main__"))
        for cell in notebook.cells(made(*cells)):
            player.play(cell)
        return self._capsys.readouterr().out


def test_cells_run_in_order_in_one_module(play: Played) -> None:
    cells = ["x = 1", {"cell_type": "markdown", "source": "x = 5"}, "", ["x += 1\n", "print(x)"]]
    assert play(*cells) == "2\n"


def test_the_value_of_a_last_line_is_shown(play: Played) -> None:
    assert play("1 + 1", "_ * 3", "7;", "None", "x = 8", "'é'") == "2\n6\n'é'\n"
    assert play("display([1], {2: 3})") == "[1]\n{2: 3}\n"


def test_a_cell_may_await(play: Played) -> None:
    sleep = "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x"
    assert play(sleep, "x = await f(1)\nawait f(x + 1)", "[await f(i) for i in range(2)]") == (
        "2\n[0, 1]\n"
    )


def test_other_cells_run_outside_of_the_event_loop(play: Played) -> None:
    text = "import asyncio\nprint(asyncio.get_event_loop().is_running())"
    assert play(text) == "False\n"


def test_a_future_statement_holds_in_later_cells(play: Played) -> None:
    assert play("from __future__ import annotations", "def f(x: absent): ...\nf(1)") == ""


def test_a_traceback_shows_the_line_of_its_cell(play: Played) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        play("x = 0", "y = 1\nz = y / x")
    text = "".join(traceback.format_exception(raised.value))
    assert 'File "x.ipynb, cell 2", line 2' in text
    assert "z = y / x" in text


def left_out(text: str) -> tuple[str, tuple[str, ...]]:
    (cell,) = notebook.cells(made(text))
    return cell.text, cell.left_out


@pytest.mark.parametrize(
    ("text", "plain", "commands"),
    [
        ("%matplotlib inline\nx = 1", "pass\nx = 1", ["%matplotlib inline"]),
        ("if x:\n    !ls 'it\ny", "if x:\n    pass\ny", ["!ls 'it"]),
        ("?len\nlen?\nlen??", "pass\npass\npass", ["?len", "len?", "len??"]),
        ("!pip install \\\n  a b\nx", "\npass\nx", ["!pip install \\"]),
        ("%time x = f()", "x = f()", ["%time x = f()"]),
        ("%timeit f()", "pass", ["%timeit f()"]),
        ("\n%%time\nx = 1", "\n\nx = 1", ["%%time"]),
        ("%%bash\nrm -rf x", "\n", ["%%bash"]),
        ("x = (7\n%3)\n", "x = (7\n%3)\n", []),
        ("'''\n!ls\n%x\n'''", "'''\n!ls\n%x\n'''", []),
        ("# why?\nx = 1", "# why?\nx = 1", []),
    ],
)
def test_commands_of_ipython_are_left_out_and_noted(
    text: str, plain: str, commands: list[str]
) -> None:
    assert left_out(text) == (plain, tuple(f"cell 1: {command}" for command in commands))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"is not JSON \(Expecting property name"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a notebook: it has no nbformat"),
        (b'{"nbformat": "4"}', "is not a notebook: it has no nbformat"),
        (made(nbformat=3), "is of notebook format 3, and 4 is needed; convert it: `jupyter nbconv"),
        (made(cells=None), "it has no list of cells"),
        (made(), "has no code"),
        (made("", "  \n"), "has no code"),
        (made({"cell_type": "code"}), "part 1 has no text"),
        (made("x", {"cell_type": "code", "source": [1]}), "part 2 has no text"),
        (made("x", metadata={"kernelspec": {"language": "R\x1b[2J"}}), r"is written in R\\x1b"),
        (made("x", metadata={"language_info": {"name": "julia"}}), "in julia, not in Python; give"),
        (made("x", "let x = 1;"), r"is not Python \(cell 2, line 1: invalid syntax\); correct it"),
        (made("x = !ls"), "takes what a command of IPython returns: write it in Python"),
        (made("f = %sql select 1"), "takes what a command of IPython returns"),
        (made("x = '\0'"), r"is not Python \(cell 1"),
        (made("return 1"), r"cell 1, line 1: 'return' outside function"),
    ],
)
def test_what_cannot_be_run_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(NotebookError, match=message) as refusal:
        notebook.cells(content)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("metadata", [None, [], {"kernelspec": 1}, {"kernelspec": {"language": 1}}])
def test_a_notebook_that_names_no_language_is_taken_as_python(metadata: object) -> None:
    assert notebook.cells(made("x", metadata=metadata))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(["nbformat", "cells", "cell_type", "source", "metadata"]), below
        )
    ),
)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_file_has_it_is_a_notebook_or_an_error(content: bytes) -> None:
    with contextlib.suppress(NotebookError):
        assert notebook.cells(content)


@given(st.text(alphabet="%!?\\ \n\tax='\"(:", max_size=30))
def test_what_is_left_of_a_cell_is_python(text: str) -> None:
    try:
        for cell in notebook.cells(made(text)):
            compile(cell.text, "cell", "exec", notebook.AWAIT)
            assert cell.text.count("\n") == text.count("\n")
    except NotebookError:
        return
