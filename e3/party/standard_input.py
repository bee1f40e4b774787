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


class TypedInput:
    """A pipe to the program, through which it gets what a person types."""

    def __init__(self) -> None:
        """Make the pipe; the runner never waits for the program to read."""
        self._reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        self._pending = b""
        self._over = False

    def hand_over(self) -> int:
        """Return the end to read from, in the program's process, which closes the other one."""
        os.close(self.writing)
        return self._reading

    def keep(self) -> None:
        """Close the end to read from, in the runner."""
        os.close(self._reading)

    def add(self, data: bytes) -> None:
        """Take what was typed next; nothing is the end of it."""
        self._pending += data
        self._over = self._over or not data

    def write(self) -> bool:
        """Write what the pipe takes; return whether nothing is left."""
        try:
            while self._pending:
                self._pending = self._pending[os.write(self.writing, self._pending) :]
        except BlockingIOError:
            return False
        except OSError:  # the program has closed its standard input
            self._pending = b""
        return True

    def close_at_end(self) -> None:
        """Close the pipe if all was typed, so that the program reads its end."""
        if self._over and self.writing >= 0:
            os.close(self.writing)
            self.writing = -1


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
    """Make `input` fail with ``why``, which says that there is nothing to read."""
    read = builtins.input

    @functools.wraps(read)
    def explained(prompt: object = "", /) -> str:
        try:
            return read(prompt)
        except EOFError as error:
            raise EOFError(f"{error}: {why}") from None

    builtins.input = explained
