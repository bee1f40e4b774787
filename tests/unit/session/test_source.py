"""Which file of a program is run, and what a user is told where something does not travel."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from e3.errors import ProgramError
from e3.experiment import Program
from e3.session import programs, source
from e3.session.verdicts import Verdict
from tests.sessions import Bench

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "my demos"
    (path / "sub").mkdir(parents=True)
    (path / "data").mkdir()
    (path / "data" / "votes.csv").write_text("1,2")
    (path / "helper.py").write_text("x = 1")
    (path / "vote.py").write_text("import helper\nprint(helper.x)")
    (path / "sub" / "count.py").write_text("print(2)")
    return path


@pytest.mark.parametrize(
    ("asked", "entry"),
    [
        ("vote.py", "vote.py"),
        ("./vote.py", "vote.py"),
        ("sub/count.py", "sub/count.py"),
        ("sub/../vote.py", "vote.py"),
    ],
)
def test_an_entry_is_a_file_of_the_folder(folder: Path, asked: str, entry: str) -> None:
    program = programs.load(folder, entry=asked)
    assert (program.path, program.entry, program.name) == (folder, entry, Path(entry).stem)
    names = {file.path for file in programs.files(program, "p")}
    assert {"p/vote.py", "p/helper.py", "p/data/votes.csv"} <= names


def test_the_entry_is_no_part_of_the_digest_and_runs_the_session_again(folder: Path) -> None:
    bench = Bench(folder.parent)
    one = bench.plan(folder, entry="vote.py")
    other = bench.plan(folder, entry="sub/count.py")
    assert one.program.digest == other.program.digest
    assert one.inputs != other.inputs


def link_outside(folder: Path) -> str:
    (folder.parent / "other.py").write_text("print(3)")
    (folder / "vote.py").unlink()
    (folder / "vote.py").symlink_to(folder.parent / "other.py")
    return "vote.py"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("../vote.py", r"e3:entry: \.\./vote\.py is not in the folder .*; write its path relative"),
        ("sub/../../x.py", "is not in the folder"),
        ("/etc/passwd", "e3:entry: /etc/passwd is not in the folder"),
        ("\udcff.py", "is not in the folder"),
        ("my demos/vote.py", "has no file my demos/vote.py; write its path relative to"),
        ("gone.py", "has no file gone.py"),
        ("sub", "has no file sub"),
        (".", "has no file ."),
        ("x\0y", "has no file"),
        ("x" * 5000, "has no file"),
        ('["vote.py", "helper.py"]', "has no file"),
        ("data/votes.csv", r"is not Python \(data/votes\.csv"),
        (link_outside, r"vote\.py is a link that leads outside; copy what it leads to"),
    ],
)
def test_an_entry_that_cannot_be_run_is_refused(
    folder: Path, asked: str | Callable[[Path], str], message: str
) -> None:
    (folder / "data" / "votes.csv").write_text("1,2,\n(")
    name = asked if isinstance(asked, str) else asked(folder)
    with pytest.raises(ProgramError, match=message) as refusal:
        programs.load(folder, entry=name)
    assert str(refusal.value).isprintable()


def test_a_file_has_no_other_entry(folder: Path) -> None:
    path = folder / "sub" / "count.py"
    assert programs.load(path, entry="count.py").entry == "count.py"
    with pytest.raises(ProgramError, match=r"e3:entry: vote\.py cannot be an entry of .*count\.py"):
        programs.load(path, entry="vote.py")


def test_a_folder_without_an_entry_says_what_to_type(folder: Path) -> None:
    with pytest.raises(ProgramError) as refusal:
        programs.load(folder)
    assert f"`e3 run '{folder}' --entry helper.py`, or e3:program with e3:entry" in str(
        refusal.value
    )


@pytest.mark.parametrize(
    "text",
    [
        "import helper",
        "import os, helper.deep as h",
        "from helper import x",
        "import package",
        '"""About."""\nfrom __future__ import annotations\nimport helper',
    ],
)
def test_a_file_that_imports_what_lies_beside_it_is_refused_at_once(
    folder: Path, text: str
) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text("")
    (folder / "vote.py").write_text(text)
    with pytest.raises(ProgramError) as refusal:
        programs.load(folder / "vote.py")
    assert "which lies beside it; a file travels alone, so have its folder shipped" in str(
        refusal.value
    )
    assert f"`e3 run '{folder}' --entry vote.py`" in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "import os, mpyc, data",  # a folder without __init__.py gives way to what is installed
        "try:\n    import helper\nexcept ImportError:\n    helper = None",
        "def f():\n    import helper",
        "from . import helper",
        "import vote",
        "import sys",
    ],
)
def test_other_imports_are_left_to_the_run(folder: Path, text: str) -> None:
    for name in ("mpyc", "sys"):
        (folder / name).mkdir()
    (folder / "sys.py").write_text("")
    (folder / "vote.py").write_text(text)
    assert programs.load(folder / "vote.py").entry == "vote.py"


def test_a_missing_input_is_put_on_its_host(tmp_path: Path) -> None:
    program = Program(path=tmp_path / "vote.py", entry="vote.py", digest="")
    place = "/home/pi/.e3/run/sessions/20260101-000000-abcd/input/survey 1.csv"
    assert source.advise(f"{FILE}'{place}'", program) == (
        "this party has no input survey 1.csv: `e3 input put HOST 'survey 1.csv'`, or a folder "
        "with a subfolder for each host as e3:inputs"
    )


def test_a_notebook_travels_by_the_same_rules(folder: Path) -> None:
    cells = [{"cell_type": "code", "source": ["%pylab\n", "import helper"]}]
    text = json.dumps({"nbformat": 4, "metadata": {}, "cells": cells})
    (folder / "vote.ipynb").write_text(text)
    with pytest.raises(ProgramError, match=r"vote\.ipynb imports helper, which lies beside it"):
        programs.load(folder / "vote.ipynb")
    program = programs.load(folder, entry="vote.ipynb")
    assert program.name == "vote"
    note = "vote.ipynb runs without what only IPython understands: `cell 1: %pylab`"
    assert program.notes == (note,)
    (folder / "vote.ipynb").write_text(text.replace("%pylab", "!pip install x"))
    (note,) = programs.load(folder, entry="vote.ipynb").notes
    assert note.endswith("name packages in a requirements.txt beside it")
    (folder / "vote.ipynb").write_text("{")
    with pytest.raises(ProgramError, match=r"notebook .*vote\.ipynb is not JSON"):
        programs.load(folder / "vote.ipynb")


GONE = "party 0 (ams3-0) exited with status 1: "
FILE = f"{GONE}FileNotFoundError: [Errno 2] No such file or directory: "


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (f"{FILE}'data/votes.csv'", "data/votes.csv lies beside the program, and a file travels"),
        (f"{FILE}'/run/e3/sessions/2-a/program/data/votes.csv'", "data/votes.csv lies beside"),
        (f'{FILE}"voter\'s.csv"', "voter's.csv is not shipped, and a file travels alone: put"),
        (f"{GONE}FileNotFoundError: data/votes.csv not found.", "data/votes.csv lies beside"),
        (
            f"{GONE}ModuleNotFoundError: No module named 'helper.x'",
            "helper lies beside the program",
        ),
        (f"{GONE}ModuleNotFoundError: No module named 'data'", "data lies beside the program"),
        (f"{FILE}'/home/me/votes.csv'", "a program sees its own folder: put its files there"),
        (f"{FILE}'../votes.csv'", "a program sees its own folder"),
    ],
)
def test_a_file_alone_that_misses_something_says_what_to_type(
    folder: Path, reason: str, advice: str
) -> None:
    program = Program(path=folder / "vote.py", entry="vote.py", digest="")
    said = source.advise(reason, program)
    assert advice in said
    assert (f"`e3 run '{folder}' --entry vote.py`" in said) == ("its own folder" not in said)


@pytest.mark.parametrize(
    "reason",
    [
        f"{FILE}'git'",
        f"{GONE}ModuleNotFoundError: No module named 'pandas'",
        f"{GONE}ValueError: votes.csv not found",
        f"{FILE}''",
        "not found",
    ],
)
def test_of_anything_else_nothing_is_said(folder: Path, reason: str) -> None:
    assert source.advise(reason, Program(path=folder / "vote.py", entry="vote.py", digest="")) == ""


def test_what_an_ignore_file_left_out_is_named(folder: Path) -> None:
    program = Program(path=folder, entry="vote.py", digest="")
    said = source.advise(f"{FILE}'data/votes.csv'", program)
    assert "left out as an ignore file says: write `!data/votes.csv` into a file .e3ignore" in said
    assert source.advise(f"{FILE}'out/result.txt'", program) == ""


def test_relative_imports_of_a_folder_that_is_a_package(folder: Path) -> None:
    program = Program(path=folder, entry="__main__.py", digest="")
    reason = f"{GONE}ImportError: attempted relative import with no known parent package"
    assert "put the package into a folder" in source.advise(reason, program)


def test_sessions_of_a_folder_with_an_entry_and_of_the_file_alone(folder: Path) -> None:
    bench = Bench(folder.parent)
    (folder / "sub" / "count.py").write_text("import os; print(open('data/votes.csv').read())")
    (folder / "count.py").write_text((folder / "sub" / "count.py").read_text())
    result = bench.run(folder, entry="count.py", parties=1)
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert result.parties[0].output == "1,2\n"
    result = bench.run(folder / "count.py", parties=1)
    assert result.verdict is Verdict.PARTY_FAILED
    assert f"have its folder shipped: `e3 run '{folder}' --entry count.py`" in result.advice


def test_sessions_of_notebooks(folder: Path) -> None:
    bench = Bench(folder.parent)
    cells = [
        "%matplotlib inline\nfrom mpyc.runtime import mpc\nimport helper",
        "mpc.run(mpc.start())\nsecint = mpc.SecInt(16)",
        "x = await mpc.output(mpc.sum(mpc.input(secint(mpc.pid + helper.x))))",
        "x",
        "mpc.run(mpc.shutdown())",
    ]

    def write(*texts: str) -> None:
        made = [{"cell_type": "code", "source": text} for text in texts]
        text = json.dumps({"nbformat": 4, "metadata": {}, "cells": made})
        (folder / "sum.ipynb").write_text(text)

    write(*cells)
    result = bench.run(folder, entry="sum.ipynb")
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert {party.output for party in result.parties} == {"6\n"}
    assert "cell 1: %matplotlib inline" in result.notes[0]
    write(*cells[:2], "1 / 0")
    result = bench.run(folder, entry="sum.ipynb")
    assert result.verdict is Verdict.PARTY_FAILED
    assert "ZeroDivisionError: division by zero (cell 3)" in result.reason
    assert 'File "sum.ipynb, cell 3", line 1, in <module>\n    1 / 0' in bench.log(result, 0)
    write("import time", "while True: time.sleep(1)")
    result = bench.run(folder, entry="sum.ipynb", parties=1, deadline_seconds=10)
    assert result.verdict is Verdict.TIMED_OUT
    doing = "party 0 (local-0): running, not yet at mpc.start (cell 2)"
    assert result.reason == f"not done after 10 s; {doing}"
