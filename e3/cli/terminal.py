"""Print text for a person: aligned, coloured on a terminal, and without control characters."""

import argparse
import io
import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from e3.remote.text import printable, printable_lines

PLAIN_WIDTH = 10_000
"""The width of output that is not a terminal: nothing is cut."""

CELL = 4000
"""The most characters of a cell."""

COLOURS = {
    "completed": "green",
    "done": "green",
    "OK": "green",
    "running": "cyan",
    "going": "cyan",
    "cancelled": "yellow",
    "interrupted": "yellow",
    "stopped": "yellow",
    "WARN": "yellow",
}
"""The colours of result words; all other words are red."""


def console(*, stderr: bool = False) -> Console:
    """Return a console; on a terminal it has colours and the terminal's width."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = PLAIN_WIDTH
    return made


def plain(text: str, style: str = "") -> Text:
    """Return an untrusted text unchanged but for control characters, without markup."""
    return Text(printable_lines(text), style)


def offer_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Give a verb the option ``--json``; e3/cli/schemas.py has what it prints."""
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON")


def say_json(value: object) -> None:
    """Print values of JSON; control characters are escaped by the format."""
    print(json.dumps(value, indent=2))


def say(text: str) -> None:
    """Print an untrusted text."""
    print(printable_lines(text))


def write_anything() -> None:
    """Let both streams of this process accept every character, whatever their encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(message: str) -> None:
    """Print on standard error why the command fails."""
    console(stderr=True).print(Text.assemble(("e3: ", "bold red"), printable_lines(message)))


def word(text: str) -> Text:
    """Return a word of `COLOURS` in its colour."""
    return Text(printable(text), COLOURS.get(text, "red"))


def show(rows: Sequence[Sequence[str | Text]], *, header: Sequence[str] = ()) -> None:
    """Print rows in columns; on a terminal the last one wraps, elsewhere each row is one line."""
    out = console()
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in [tuple(Text(name, "dim") for name in header), *rows] if header else rows:
        cells = (cell if isinstance(cell, Text) else Text(printable(cell, CELL)) for cell in row)
        table.add_row(*cells)
    for column in table.columns[:-1]:
        column.no_wrap = True
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as captured:
        out.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
