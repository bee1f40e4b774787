"""Find where a program says which packages it needs.

The first of these counts: a block in the program's own head (PEP 723), a `requirements.txt` beside
it, a `pyproject.toml` beside it (PEP 621). `e3.session.requirements` reads what is found; most
programs ask for nothing, so this module loads little.
"""

import json
import os
import re
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from e3.errors import ProgramError
from e3.experiment import Program, Rules
from e3.interfaces import Host
from e3.remote.text import printable
from e3.session.plan import Plan
from e3.session.progress import Observer

ROOT = Path(__file__).resolve().parents[2]
"""E3's own folder: the files there are E3's, not those of a program beside them."""

STORE = ROOT / ".tools" / "packages"
"""Where a checkout keeps packages of programs: users of lab hosts read it, so not in ``.e3``."""

LISTS = ("requirements.txt", "pyproject.toml")
FILE_BYTES = 2_000_000
"""Of one file; a list of some hundred packages with all their hashes has a tenth of it."""

SHOWN = 120
"""The most characters of a path or a line in a message."""

BLOCK = re.compile(r"(?m)^# /// script\s*$\n(?P<content>(?:^#(?: .*)?$\n)*?)^# ///\s*$")
"""PEP 723: the block of a script."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Where a program asks for packages: a file, or ``blocks`` in the head of the program itself.

    Nothing is read outside of the folder ``top``.
    """

    path: Path
    top: Path
    blocks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The layer of each host by its name, and the packages in all of them, for the manifest."""

    layers: Mapping[str, str] = field(default_factory=dict)
    listed: Sequence[str] = ()


def declaration(program: Program) -> Declaration | None:
    """Return where a program asks for packages; None if it does not.

    Raises `ProgramError` if that file cannot be read.
    """
    folder = program.path.is_dir()
    entry = program.path / program.entry if folder else program.path
    top = program.path if folder else entry.parent
    blocks = tuple(found["content"] for found in BLOCK.finditer(head(entry)))
    if blocks:
        return Declaration(path=entry, top=top, blocks=blocks)
    places = dict.fromkeys(place for place in (entry.parent, top) if place.resolve() != ROOT)
    paths = (Path(place, name) for place in places for name in LISTS)
    path = next((path for path in paths if os.path.lexists(path)), None)
    if path is None:
        return None
    if not path.resolve().is_relative_to(top.resolve()):
        raise ProgramError(
            f"{printable(path, SHOWN)} is a link that leads outside; copy what it leads to"
        )
    return Declaration(path=path, top=top)


@asynccontextmanager
async def provided(
    plan: Plan, hosts: Sequence[Host], rules: Rules, observer: Observer, store: Path
) -> AsyncIterator[Prepared]:
    """Ensure that each party's host has the packages for which the program asks, meanwhile.

    See `e3.session.packages`, which is loaded only if the program asks for any.
    """
    asked = declaration(plan.program) if rules.dependencies != "none" else None
    if asked is None:
        yield Prepared()
        return
    from e3.session.layers import Store  # noqa: PLC0415
    from e3.session.packages import prepared  # noqa: PLC0415

    seated = {seat.host for seat in plan.seats}
    theirs = [host for host in hosts if host.name in seated]
    async with prepared(asked, theirs, rules, observer.preparing, Store(folder=store)) as found:
        yield found


def head(entry: Path) -> str:
    """Return the text in which a program's PEP 723 block may stand; a notebook's is its code."""
    try:
        content = read_bounded(entry).decode("utf-8-sig").replace("\r\n", "\n")
    except (ProgramError, UnicodeDecodeError):
        return ""  # it has no block that could be read
    if entry.suffix != ".ipynb":
        return content
    try:
        cells = json.loads(content)["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        return "".join(f"{''.join(source)}\n" for source in sources)
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""  # `e3.session.programs` says what is wrong with it


def text(path: Path) -> str:
    """Return the text of a file beside a program."""
    try:
        return read_bounded(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProgramError(f"{printable(path, SHOWN)} is not UTF-8; write it as UTF-8") from None


def read_bounded(path: Path) -> bytes:
    """Return the content of a file of at most `FILE_BYTES`; raise `ProgramError` for another."""
    shown = printable(path, SHOWN)
    try:
        # non-blocking: a pipe must not block for ever
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ProgramError(f"{shown} cannot be read: {error.strerror}") from None
    info = os.fstat(opened)
    if not stat.S_ISREG(info.st_mode):
        os.close(opened)
        raise ProgramError(f"{shown} is not a file; remove it, or give it another name")
    with os.fdopen(opened, "rb") as file:
        if info.st_size > FILE_BYTES:
            raise ProgramError(
                f"{shown} has {info.st_size / 1e6:,.0f} MB, and a list of packages at most "
                f"{FILE_BYTES // 1_000_000}; shorten it"
            )
        return file.read(FILE_BYTES)
