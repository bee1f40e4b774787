"""Text for a person: aligned, coloured where that can be seen, and harmless."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from e3.party.text import printable_lines

PLAIN_WIDTH = 10_000
"""What is not a terminal has no width: nothing is cut."""

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
"""Of words that say how things went; all others are bad."""


def console(*, stderr: bool = False) -> Console:
    """Return where to write; on a terminal it knows colours and width."""
    made = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = PLAIN_WIDTH
    return made


def complain(message: str) -> None:
    """Say on standard error why the command ends."""
    console(stderr=True).print(Text.assemble(("e3: ", "bold red"), printable_lines(message)))


def word(text: str) -> Text:
    """Return a word of `COLOURS` in its colour."""
    return Text(text, COLOURS.get(text, "red"))


def show(rows: Sequence[Sequence[str | Text]], *, header: Sequence[str] = ()) -> None:
    """Print rows in columns; on a terminal the last one wraps, elsewhere each row is one line."""
    out = console()
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in [tuple(Text(name, "dim") for name in header), *rows] if header else rows:
        table.add_row(*(printable_lines(cell) if isinstance(cell, str) else cell for cell in row))
    for column in table.columns[:-1]:
        column.no_wrap = True
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as captured:
        out.print(table)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
