"""The standard input of a program: the input `stdin`, what a person types, or nothing."""

from __future__ import annotations

import builtins
import functools
import os
from pathlib import Path

from e3.party.inputs import FOLDER, STDIN
from e3.party.protocol import Spec

NOTHING = (
    "this party has no standard input; give it an input named stdin "
    "(`e3 input put HOST stdin`), or let `e3 run --stdin` pass on yours to party 0"
)
OVER = "its standard input has no more lines"


def give(spec: Spec, folder: str) -> None:
    """Make the input `stdin` this process's standard input, and let `input` say where it ends.

    Standard input is empty so far, or comes from the deployer if ``spec.typed``.
    """
    place = Path(folder, FOLDER, STDIN)
    given = not spec.typed and place.is_file()
    if given:
        opened = os.open(place, os.O_RDONLY)
        os.dup2(opened, 0)
        os.close(opened)
    explain_end(OVER if given or spec.typed else NOTHING)


def explain_end(why: str) -> None:
    """Have `input` say ``why`` there is nothing to read."""
    read = builtins.input

    @functools.wraps(read)
    def explained(prompt: object = "", /) -> str:
        try:
            return read(prompt)
        except EOFError as error:
            raise EOFError(f"{error}: {why}") from None

    builtins.input = explained
