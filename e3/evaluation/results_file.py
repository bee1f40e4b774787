"""Read and write a file of results, and name what is wrong with one.

Each line ends with its ``chain``: the SHA-256 of the chain before it and of the line without it. So
a line that was changed, moved or removed is found. The chain holds no secret: it tells damage and
careless editing, not a forger who computes it anew.

A file whose name ends with ``.gz`` is read as it was compressed by gzip.

A process that was killed may leave a last line that is cut. `read` and `check` name it; `Writer`
removes it, since nothing that it told of had finished.
"""

import fcntl
import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, Self, cast

import msgspec

from e3 import private
from e3.errors import ResultsError
from e3.evaluation.observations import ObservationRecord
from e3.evaluation.results import (
    READABLE,
    SCHEMA,
    CampaignRecord,
    CellRecord,
    Record,
    RepetitionRecord,
    SetupRecord,
)
from e3.remote.text import printable

LINE_BYTES = 16 << 20
FIRST = "0" * 64
"""What the chain of the first line follows."""

CHAIN = re.compile(rb',"chain":"([0-9a-f]{64})"\}$')

Fault = Literal[
    "not-results",
    "schema",
    "cut",
    "malformed",
    "changed",
    "duplicate",
    "misplaced",
]
"""What can be wrong with a line.

``not-results``: the file does not begin as results do. ``schema``: it has another version of the
schema. ``cut``: its last line has no end. ``malformed``: a line is not as the schema says.
``changed``: a line, or what stood before it, was changed after it had been written.
``duplicate``: it tells of something that a line before it tells of. ``misplaced``: it tells of
something that the campaign does not have, or that no line before it has begun.
"""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A fault of a file, at a line that counts from 1."""

    fault: Fault
    line: int
    sentence: str

    def __str__(self) -> str:
        """Return it as a line for a person."""
        return f"line {self.line}: {self.fault}: {self.sentence}"


class Writer:
    """Appends records to a file, which no other writer has open meanwhile.

    What the file has is in ``known``. Use it as a context manager.
    """

    def __init__(self, path: Path) -> None:
        """Open or create a file, and remove a last line that is cut.

        Raises `ResultsError` if another process writes to it, or if anything else is wrong with it.
        """
        private.folder(path.parent)
        self._path = path
        self._file = private.descriptor(path, os.O_RDWR | os.O_APPEND)
        try:
            self._lock()
            self._chain, self.known = self._recover()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        os.close(self._file)

    def write(self, record: Record) -> None:
        """Append a record; when this returns, it is on the disk."""
        line, self._chain = link(record, self._chain)
        os.write(self._file, line)
        os.fsync(self._file)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResultsError(
                f"{self._path}: another process writes to it; `e3 campaign show` follows it"
            ) from None

    def _recover(self) -> tuple[str, list[Record]]:
        if not self._path.stat().st_size:
            return FIRST, []
        scan = _Scan(self._path)
        known: list[Record] = []
        for one in scan:
            if not isinstance(one, Problem):
                known.append(one)
            elif one.fault == "cut":
                os.ftruncate(self._file, scan.whole_bytes)
            else:
                raise ResultsError(f"{self._path}: {one}; move the file away to begin anew")
        return scan.chain, known


def link(record: Record, before: str) -> tuple[bytes, str]:
    """Return a record as a line that follows the chain ``before``, and its own chain."""
    body = msgspec.json.encode(record)
    chain = _chain(before, body)
    return body[:-1] + b',"chain":"' + chain.encode() + b'"}\n', chain


def read(path: Path) -> Iterator[Record]:
    """Yield each record of a file; raise `ResultsError` at the first that is wrong.

    Holds one line at a time, whatever the size of the file.
    """
    for one in _Scan(path):
        if isinstance(one, Problem):
            raise ResultsError(f"{path}: {one}")
        yield one


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a file that may just be written: without a last line that is cut."""
    for one in _Scan(path):
        if not isinstance(one, Problem):
            yield one
        elif one.fault != "cut":
            raise ResultsError(f"{path}: {one}")


def check(path: Path) -> Iterator[Problem]:
    """Yield everything that is wrong with a file; raise `ResultsError` if it cannot be read."""
    for one in _Scan(path):
        if isinstance(one, Problem):
            yield one


@dataclass
class _Scan:
    """The records and problems of a file, one after another."""

    path: Path
    chain: str = FIRST
    whole_bytes: int = 0
    _seen: set[tuple[object, ...]] = field(default_factory=set)
    _setups: dict[str, int] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _campaign: CampaignRecord | None = None
    _programs: frozenset[str] = frozenset()
    _cells: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Record | Problem]:
        number = 0
        try:
            with _opened(self.path) as file:
                while line := file.readline(LINE_BYTES):
                    number += 1
                    one = self._take(number, line)
                    yield one
                    if isinstance(one, Problem) and one.fault in {"not-results", "schema", "cut"}:
                        return
                    self.whole_bytes += len(line)
            if not number:
                yield Problem(fault="not-results", line=1, sentence="is empty")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            told = f"the compressed file is damaged or incomplete: {printable(error)}"
            yield Problem(fault="cut", line=number + 1, sentence=told)
        except OSError as error:
            raise ResultsError(f"{self.path}: {error.strerror}") from None

    def _take(self, number: int, line: bytes) -> Record | Problem:
        if number == 1 and (wrong := _beginning(line)):
            return wrong
        before = self.chain
        try:
            body, self.chain = _split(line)
            record: Record = msgspec.json.decode(body, type=Record)
        except _FaultError as error:
            return Problem(fault=error.fault, line=number, sentence=str(error))
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            return Problem(fault="malformed", line=number, sentence=printable(error))
        try:
            self._note(record, whole=self.chain == _chain(before, body))
        except _FaultError as error:
            if error.fault == "duplicate":
                self.chain = before  # a line that was put in: the next one follows that before it
            return Problem(fault=error.fault, line=number, sentence=str(error))
        return record

    def _note(self, record: Record, *, whole: bool) -> None:
        """Note what a record tells of; raise `_FaultError` if it cannot stand here."""
        if (key := _key(record)) in self._seen:
            raise _FaultError("duplicate", "tells again of " + " ".join(map(str, key)))
        self._seen.add(key)
        if not whole:
            raise _FaultError(
                "changed",
                "was changed after it was written, or lines before it were removed or moved",
            )
        if isinstance(record, CampaignRecord):
            self._campaign = record
            self._programs = frozenset(program.id for program in record.programs)
            self._cells = frozenset(
                f"{overlay.id}/{scenario.id}"
                for overlay in record.overlays
                for scenario in record.scenarios
                if scenario.has(overlay.id)
            )
        elif (why := self._misplaced(record)) is not None:
            raise _FaultError("misplaced", why)
        elif isinstance(record, CellRecord):
            self._ended.add(record.cell)
        elif isinstance(record, SetupRecord):
            self._setups[record.cell] = record.setup

    def _misplaced(
        self, record: SetupRecord | RepetitionRecord | ObservationRecord | CellRecord
    ) -> str | None:
        """Return why a record of a cell cannot stand here; None if it can."""
        if self._campaign is None:
            return "stands before a line of the kind campaign"
        cell = record.cell
        why = None
        if cell not in self._cells:
            why = f"the campaign has no cell {cell}"
        elif cell in self._ended:
            why = f"cell {cell} has ended before"
        elif isinstance(record, RepetitionRecord | ObservationRecord):
            most = self._campaign.repetitions
            if record.program and record.program not in self._programs:
                why = f"the campaign has no program {record.program}"
            elif isinstance(record, RepetitionRecord) and record.repetition >= most:
                why = f"the campaign has {most} repetitions, counted from 0"
            elif record.setup > self._setups.get(cell, -1):
                why = f"cell {cell} had no set-up {record.setup} before"
        return why


def _opened(path: Path) -> BinaryIO:
    """Return a file of results to read, which gzip may have compressed."""
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


class _FaultError(Exception):
    """What is wrong with a line."""

    def __init__(self, fault: Fault, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = fault


def _split(line: bytes) -> tuple[bytes, str]:
    """Return a line without its chain, and the chain."""
    if not line.endswith(b"\n"):
        if len(line) >= LINE_BYTES:
            raise _FaultError("malformed", f"is longer than {LINE_BYTES} bytes")
        raise _FaultError("cut", "has no end: its writer was killed, or the copy is incomplete")
    line = line.rstrip(b"\n")
    found = CHAIN.search(line)
    if found is None:
        raise _FaultError("malformed", "has no chain at its end")
    return line[: found.start()] + b"}", found[1].decode()


def _beginning(line: bytes) -> Problem | None:
    """Return what is wrong with the first line, before anything of it is believed."""

    class Head(msgspec.Struct):
        kind: str
        schema: int

    try:
        head = msgspec.json.decode(line, type=Head)
    except (msgspec.DecodeError, RecursionError, ValueError):
        if line.startswith(b'{"kind":"campaign"') and not line.endswith(b"\n"):
            return Problem(fault="cut", line=1, sentence="has no end: nothing was measured")
        head = None
    if head is None or head.kind != "campaign":
        return Problem(fault="not-results", line=1, sentence="is not the begin of E3's results")
    if head.schema not in READABLE:
        age = "an older" if head.schema < SCHEMA else "a newer"
        known = ", ".join(map(str, READABLE))
        told = f"is of schema {head.schema}; this E3 reads {known}: take {age} E3 for this file"
        return Problem(fault="schema", line=1, sentence=told)
    return None


def _key(record: Record) -> tuple[object, ...]:
    """Return what a record tells of, which no other may tell of."""
    match record:
        case CampaignRecord():
            return ("campaign",)
        case SetupRecord():
            return ("setup", record.setup, "of", record.cell)
        case RepetitionRecord():
            return ("repetition", record.repetition, "of", record.program, "in", record.cell)
        case ObservationRecord():
            return ("observation", record.number, "of", record.cell)
        case CellRecord():
            return ("the end of", record.cell)


def _chain(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()
