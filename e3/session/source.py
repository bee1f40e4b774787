"""The text of a program's entry: whether it is Python, and whether what it imports travels."""

import ast
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from e3.errors import ProgramError
from e3.experiment import Program
from e3.party import notebook, tree
from e3.party.notebook import Cell, NotebookError
from e3.party.protocol import NOTEBOOK

SUFFIXES = (".py", NOTEBOOK)
NAME_LENGTH = 200

MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
RELATIVE = "ImportError: attempted relative import with no known parent package"
FILE = re.compile(
    r"No such file or directory: b?(?:'([^']+)'|\"([^\"]+)\")|FileNotFoundError: (\S.*) not found"
)
THERE = re.compile(r"/run/e3/sessions/[^/]+/program/")
"""A session's folder on a host."""

INPUT = re.compile(r"/sessions/[^/]+/input/(.+)$")
"""A private input there, see `e3.party.inputs`."""


def check(path: Path, entry: str, content: bytes) -> tuple[str, ...]:
    """Return remarks about the entry of the program at ``path``.

    Raises `ProgramError` if it is not Python, or imports what does not travel with it.
    """
    cells: list[Cell] = []
    texts: list[str | bytes] = [content]  # bytes: Python finds out their encoding
    if entry.endswith(NOTEBOOK):
        try:
            cells = notebook.cells(content)
        except NotebookError as error:
            raise ProgramError(f"notebook {path} {error}") from None
        texts = [cell.text for cell in cells]
    bodies = [body for text in texts for body in parse(path, entry, text).body]
    if not path.is_dir():
        check_imports(path, bodies)
    return remarks(entry, cells)


def parse(path: Path, entry: str, text: str | bytes) -> ast.Module:
    """Return the syntax tree of a text that is Python; raise `ProgramError` if it is not."""
    name = str(path / entry if path.is_dir() else path)
    flags = ast.PyCF_ONLY_AST | (notebook.AWAIT if isinstance(text, str) else 0)
    try:
        parsed: ast.Module = compile(text, name, "exec", flags, dont_inherit=True)
        compile(parsed, name, "exec", flags & ~ast.PyCF_ONLY_AST, dont_inherit=True)
    except SyntaxError as error:
        where = f"line {error.lineno}: {error.msg}" if error.lineno else error.msg
        message = f"program {path} is not Python ({entry}, {where}); correct it"
        raise ProgramError(message) from None
    except (ValueError, RecursionError) as error:
        raise ProgramError(f"program {path} is not Python ({entry}: {error})") from None
    return parsed


def remarks(entry: str, cells: Iterable[Cell]) -> tuple[str, ...]:
    """Return a sentence about what of a notebook does not run; nothing if all of it does."""
    left_out = [f"`{command}`" for cell in cells for command in cell.left_out]
    if not left_out:
        return ()
    few = ", ".join(left_out[:5])
    more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""  # noqa: PLR2004 -- as above
    asks = any("pip" in command or "conda" in command for command in left_out)
    hint = "; name packages in a requirements.txt beside it" if asks else ""
    return (f"{entry} runs without what only IPython understands: {few}{more}{hint}",)


def check_imports(path: Path, body: Iterable[ast.stmt]) -> None:
    """Raise `ProgramError` if a program that is one file imports a module that lies beside it."""
    for name in imported(body):
        if name == path.stem or name in sys.builtin_module_names:
            continue
        if (path.parent / f"{name}.py").is_file() or (path.parent / name / "__init__.py").is_file():
            raise ProgramError(
                f"program {path} imports {name}, which lies beside it; a file travels alone, so "
                f"have its folder shipped: {how_to_choose(path.parent, path.name)}"
            )


def imported(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the top-level names that statements import, apart from those within others."""
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            yield statement.module.partition(".")[0]


def how_to_choose(folder: Path, entry: str) -> str:
    """Return how a user has a folder shipped and one of its files run."""
    where = shlex.quote(os.path.abspath(folder))  # noqa: PTH100 -- links in it stay
    return f"`e3 run {where} --entry {shlex.quote(entry)}`, or e3:program with e3:entry"


def advise(reason: str, program: Program) -> str:
    """Return what to do if a party failed since a file or a module is missing; else nothing.

    ``reason`` is what the party said: it is only searched, and names are looked up below the
    program's folder alone.
    """
    if RELATIVE in reason:
        return "put the package into a folder, and beside it a main.py that imports it"
    for pattern, what in ((MODULE, "module"), (FILE, "file")):
        if found := pattern.search(reason):
            name = next(filter(None, found.groups()))[:NAME_LENGTH]
            place = name.partition(".")[0] if what == "module" else THERE.sub("", name, count=1)
            return missing(what, os.path.normpath(place), program)
    return ""


def missing(what: str, name: str, program: Program) -> str:
    """Return what to do about a name that a program did not find; nothing if that is unknown."""
    is_file = not program.path.is_dir()
    home = program.path.parent if is_file else (program.path / program.entry).parent
    shown = tree.shown(name)
    if found := INPUT.search(name):
        shown = tree.shown(found[1])
        return (
            f"this party has no input {shown}: `e3 input put HOST {shlex.quote(shown)}`, or a "
            "folder with a subfolder for each host as e3:inputs"
        )
    if name.startswith(("/", "..")):
        return "a program sees its own folder: put its files there" if what == "file" else ""
    beside = any(os.path.lexists(home / each) for each in (name, f"{name}.py"))
    data = what == "file" and ("." in name or "/" in name)  # else it may be a command
    if is_file and (beside or data):
        lies = "lies beside the program" if beside else "is not shipped"
        choice = how_to_choose(program.path.parent, program.entry)
        put = "" if beside else f"put {shown} into its folder and "
        return f"{shown} {lies}, and a file travels alone: {put}have its folder shipped: {choice}"
    if beside:
        return (
            f"{shown} is in the program's folder, and left out as an ignore file says: write "
            f"`!{shown}` into a file .e3ignore beside it"
        )
    return ""
