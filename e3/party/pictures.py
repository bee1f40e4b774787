"""Figures that a program shows become files in its output folder: a host has no display.

matplotlib then draws into memory, where `show` does nothing. Nothing happens in a program that does
not import ``matplotlib.pyplot``, or that shows nothing.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from e3.remote.text import printable

Attributes = Any
"""matplotlib is the program's: its modules and objects are used by attribute."""

PYPLOT = "matplotlib.pyplot"


def load_pyplot(folder: Path, log: TextIO, execute: Callable[[], None], pyplot: Attributes) -> None:
    """Load ``matplotlib.pyplot``: what it shows is saved in ``folder``, which ``log`` notes."""
    execute()
    numbers = itertools.count(1)
    show = pyplot.show

    def save(manager: Attributes) -> None:
        """Save a figure instead of showing its window; only managers without windows get here."""
        path = folder / f"figure-{next(numbers)}.png"
        try:
            manager.canvas.figure.savefig(path)
        except OSError as error:
            print(f"cannot save {path.name}: {error.strerror}", file=sys.stderr)  # noqa: T201 -- of the party
        else:
            log.write(f"{printable(path.name)}: a figure that the program showed\n")

    @functools.wraps(show)
    def show_and_close(*args: object, **options: object) -> None:
        show(*args, **options)
        if options.get("block") is not False:
            pyplot.close("all")  # as when a person has closed their windows

    sys.modules["matplotlib.backend_bases"].FigureManagerBase.show = save
    pyplot.show = show_and_close


def show_all() -> None:
    """Show the figures that are left, as Jupyter does at the end of a cell."""
    pyplot: Attributes = sys.modules.get(PYPLOT)
    if pyplot is not None:
        pyplot.show()
