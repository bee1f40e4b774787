"""The files that a party's program left as output, as they arrive from its host: into the evidence.

A runner sends names and contents, so both are foreign. They are checked by the rule that a correct
runner follows, and by the limits of the session; anything else ends the party.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from e3 import private
from e3.party.outputs import fault_of
from e3.party.protocol import Spec
from e3.remote.text import printable
from e3.session import events
from e3.session.events import EventError

FOLDER = "output"
"""Of the evidence: it has a folder for each host, with the files of the party there."""


@dataclass
class PartyOutput:
    """What has arrived of one party's output; its files are below ``folder``.

    ``files`` and ``bytes`` count what was taken, or kept on the host. ``remarks`` are sentences
    about what was not.
    """

    folder: Path
    spec: Spec
    files: int = 0
    bytes: int = 0
    remarks: list[str] = field(default_factory=list)
    _name: str = ""
    _left: int = 0
    _open: BinaryIO | None = None
    _explained: bool = False

    def take(self, event: events.Output) -> list[str]:
        """Take note of an event; return new remarks. Raises `EventError` if none may send it."""
        before = len(self.remarks)
        if self._explained:
            raise EventError("output after all that was left out")
        if isinstance(event, events.LeftOut):
            self._explain(event)
        elif isinstance(event, events.Kept) != (self.spec.outputs == "private"):
            raise EventError("output that does not belong there")
        elif isinstance(event, events.Kept):
            self._count(event.files, event.bytes)
        elif isinstance(event, events.Filed):
            self._begin(event)
        else:
            self._add(event)
        return self.remarks[before:]

    def close(self) -> None:
        """Drop a file that is not complete."""
        if self._open is not None:
            self._open.close()
            self._open = None
            self._unfinished.unlink(missing_ok=True)

    @property
    def notes(self) -> list[str]:
        """The remarks as sentences of a result; the folder is named by the host."""
        return [f"party {self.spec.pid} ({self.folder.name}): {each}" for each in self.remarks]

    @property
    def _unfinished(self) -> Path:
        return self.folder.with_name(f".{self.folder.name}")

    def _begin(self, event: events.Filed) -> None:
        self.close()
        if fault := fault_of(event.name):
            raise EventError(f"an output file with {fault}: {printable(event.name, 60)}")
        self._count(1, event.size)
        self._name, self._left = event.name, event.size
        with self._writing():
            private.folder((self.folder / self._name).parent)
            flags = os.O_WRONLY | os.O_TRUNC
            self._open = os.fdopen(private.descriptor(self._unfinished, flags), "wb")
        self._finish()

    def _add(self, event: events.Piece) -> None:
        if not 0 < len(event.data) <= self._left:
            raise EventError(f"{len(event.data)} bytes of a file that has {self._left} left")
        self._left -= len(event.data)
        with self._writing():
            if self._open is not None:
                self._open.write(event.data)
        self._finish()

    def _finish(self) -> None:
        if self._open is not None and not self._left:
            with self._writing():
                self._open.close()
                self._open = None
                self._unfinished.rename(self.folder / self._name)

    def _count(self, files: int, size: int) -> None:
        self.files += files
        self.bytes += size
        if self.files > self.spec.output_files or self.bytes > self.spec.output_bytes:
            raise EventError("more output files than allowed")

    def _explain(self, event: events.LeftOut) -> None:
        self._explained = True
        named = ", ".join(f"{printable(name)} ({printable(why)})" for name, why in event.files)
        more = event.total - len(event.files)
        self.remarks.append(
            f"left out of its output: {named}{f' and {more} more' if more > 0 else ''}"
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Note that this machine cannot write, as its disk is full: no fault of the party."""
        try:
            yield
        except OSError as error:
            failed = f"its output is not complete in the evidence: {error.strerror}"
            if failed not in self.remarks:
                self.remarks.append(failed)
            with contextlib.suppress(OSError):
                self.close()
