"""Notebooks as Jupyter writes them: their code cells, and how these run one after another.

Deployer and party read a notebook by the same functions, so what the one has checked is what the
other runs. Commands of IPython are left out: lines that begin with ``%``, ``!`` or ``?``.
"""

from __future__ import annotations
import __future__

import ast
import asyncio
import inspect
import json
import linecache
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

from e3.party import pictures
from e3.remote.text import printable

if TYPE_CHECKING:  # it is of systems that have limits, and notebooks are read anywhere
    from e3.party.cost import SendReport

FORMAT = 4
LANGUAGES = ("python", "ipython")
"""How the names of a notebook's language begin if it is Python."""

AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
FEATURES = (getattr(__future__, name) for name in __future__.all_feature_names)
FUTURE = reduce(or_, (feature.compiler_flag for feature in FEATURES))
SHOWN_LENGTH = 60

TRANSPARENT = frozenset({"capture", "prun", "time", "timeit"})
"""Magics of a cell that run the rest of it as Python."""

COMMAND = re.compile(r"[%!?]|.*\?\s*$")
"""Matches a line, without its indentation, that only IPython understands."""

TIMED = re.compile(r"%time\s+(?=\S)")
ASSIGNED = re.compile(r"[^=]+=\s*[!%]")


class NotebookError(Exception):
    """A notebook cannot be run; the message says why, and follows the notebook's name."""


@dataclass(frozen=True)
class Cell:
    """A code cell: its number among those that Jupyter would run, and its text as plain Python.

    ``left_out`` are the commands of IPython that are no part of it any more.
    """

    number: int
    text: str
    left_out: tuple[str, ...] = ()


def cells(content: bytes) -> list[Cell]:
    """Return the code cells of a notebook; raise `NotebookError` if it cannot be run."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NotebookError(f"is not JSON ({printable(error, 200)}); save it again") from None
    if not isinstance(document, dict) or not isinstance(found := document.get("nbformat"), int):
        raise NotebookError("is not a notebook: it has no nbformat; save it again in Jupyter")
    if found != FORMAT:
        raise NotebookError(
            f"is of notebook format {found}, and {FORMAT} is needed; convert it: "
            "`jupyter nbconvert --to notebook --nbformat 4 --inplace FILE`"
        )
    check_language(document.get("metadata"))
    made = [plain(number, text) for number, text in enumerate(sources(document.get("cells")), 1)]
    if not made:
        raise NotebookError("has no code; write some")
    return made


def check_language(metadata: object) -> None:
    """Raise `NotebookError` if a notebook says that it is not in Python."""
    known = metadata if isinstance(metadata, dict) else {}
    for section, key in (("kernelspec", "language"), ("language_info", "name")):
        part = known.get(section)
        language = part.get(key) if isinstance(part, dict) else None
        if isinstance(language, str) and not language.lower().startswith(LANGUAGES):
            shown = printable(language, SHOWN_LENGTH)
            raise NotebookError(f"is written in {shown}, not in Python; give a notebook in Python")


def sources(found: object) -> Iterator[str]:
    """Yield the texts of the code cells that are not empty."""
    if not isinstance(found, list):
        raise NotebookError("is not a notebook: it has no list of cells; save it again in Jupyter")
    for place, cell in enumerate(found, 1):
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        lines = cell.get("source")
        lines = [lines] if isinstance(lines, str) else lines
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise NotebookError(f"is not a notebook: part {place} has no text; save it again")
        text = "".join(lines)
        if text.strip():
            yield text


def plain(number: int, text: str) -> Cell:
    """Return a cell without IPython's commands; raise `NotebookError` if it is not Python.

    Only what Python does not understand is looked at, so ``%`` within an expression or a string
    stays. Lines stay where they are.
    """
    lines = text.split("\n")
    left_out = list(leave_out_magic(lines))
    while True:  # there is one command fewer each time
        try:
            compile("\n".join(lines), "cell", "exec", AWAIT, dont_inherit=True)
        except SyntaxError as error:
            at = (error.lineno or 1) - 1
            line = lines[at].strip() if at < len(lines) else ""
            if not COMMAND.match(line):
                hint = "; it takes what a command of IPython returns: write it in Python"
                more = hint if ASSIGNED.match(line) else ""
                raise NotebookError(
                    f"is not Python (cell {number}, line {at + 1}: {error.msg}{more}); correct it"
                ) from None
            left_out.append(line)
            leave_out_command(lines, at)
        except (ValueError, RecursionError) as error:
            raise NotebookError(f"is not Python (cell {number}: {error})") from None
        else:
            shown = (f"cell {number}: {printable(line, SHOWN_LENGTH)}" for line in left_out)
            return Cell(number, "\n".join(lines), tuple(shown))


def leave_out_magic(lines: list[str]) -> Iterator[str]:
    """Remove the magic of a whole cell, and the cell with it if that makes it no Python."""
    first = next(at for at, line in enumerate(lines) if line.strip())
    if lines[first].startswith("%%"):
        yield lines[first].strip()
        words = lines[first][2:].split()
        last = first + 1 if words and words[0] in TRANSPARENT else len(lines)
        lines[first:last] = [""] * (last - first)


def leave_out_command(lines: list[str], at: int) -> None:
    """Replace a command of IPython, with the lines that continue it; ``%time`` keeps its code."""
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    code = TIMED.match(lines[at].strip())
    if code:
        lines[at] = indent + lines[at].strip()[code.end() :]
        return
    while lines[at].endswith("\\") and at + 1 < len(lines):
        lines[at], at = "", at + 1
    lines[at] = f"{indent}pass"


def execute_notebook(report: SendReport, path: Path, main: ModuleType) -> None:
    """Run a notebook cell by cell in the module ``main``; report the beginning of each."""
    sys.excepthook = traceback.print_exception  # Python's own knows no lines of cells
    player = Player(path.name, main, after=pictures.show_all)
    for cell in cells(path.read_bytes()):
        report("cell", number=cell.number)
        player.play(cell)


class Player:
    """Runs the cells of a notebook in one module, as Jupyter does."""

    def __init__(
        self, name: str, main: ModuleType, after: Callable[[], object] = lambda: None
    ) -> None:
        """Run in ``main``; call ``after`` after each cell. Tracebacks have the notebook's name."""
        self._name = name
        self._scope = vars(main)
        self._after = after
        self._flags = AWAIT
        self._scope.pop("__file__", None)
        self._scope["display"] = display

    def play(self, cell: Cell) -> None:
        """Run one cell, and print the value of its last line if that is an expression."""
        name = f"{self._name}, cell {cell.number}"
        lines = [f"{line}\n" for line in cell.text.split("\n")]
        linecache.cache[name] = (len(cell.text), None, lines, name)
        tree = compile(cell.text, name, "exec", self._flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr) and not cell.text.rstrip().endswith(";"):
            tree.body.pop()
            self._run(self._compile(tree, name, "exec"))
            value = self._run(self._compile(ast.Expression(last.value), name, "eval"))
            if value is not None:
                self._scope["_"] = value
                display(value)
        else:
            self._run(self._compile(tree, name, "exec"))
        self._after()

    def _compile(self, tree: ast.Module | ast.Expression, name: str, mode: str) -> CodeType:
        code: CodeType = compile(tree, name, mode, self._flags, dont_inherit=True)
        self._flags |= code.co_flags & FUTURE  # `from __future__` holds in later cells, too
        return code

    def _run(self, code: CodeType) -> object:
        value: object = eval(code, self._scope)  # noqa: S307 -- running it is the purpose
        if code.co_flags & inspect.CO_COROUTINE:
            # only such cells run in the event loop: others call mpc.run, which starts it
            return loop().run_until_complete(value)  # type: ignore[arg-type]  # a coroutine
        return value


def display(*values: object, **_: object) -> None:
    """Print values as Jupyter shows them in a text; options of IPython's `display` have no use."""
    for value in values:
        print(repr(value))  # noqa: T201 -- a party's output


def loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this thread, which is MPyC's, or a new one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return asyncio.get_event_loop()
        except RuntimeError:
            made = asyncio.new_event_loop()
            asyncio.set_event_loop(made)
            return made
