"""Decode the events of a party's runner into typed values of bounded size: a closed list.

`e3.party.protocol` defines them. The owner of a host can make its runner write anything, so no
other module of the deployer reads these lines. `decode` returns an `Event`, or None for a line
that is not E3's; its error names what is wrong.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal, Required, TypedDict

import msgspec
from msgspec import Meta

from e3.party.outputs import NAME_BYTES, NAMED, PIECE_BYTES
from e3.party.protocol import STREAMS, Spec
from e3.remote.text import printable

LINE_BYTES = 262_144
"""Of one line; the longest that a correct runner writes lists differences of many parties."""

Word = Annotated[str, Meta(max_length=256)]
Sentence = Annotated[str, Meta(max_length=4096)]
Text = Annotated[str, Meta(max_length=32_768)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Pid = Annotated[int, Meta(ge=0, lt=2**31)]
Pids = Annotated[list[Pid], Meta(max_length=65_536)]
Seconds = Annotated[float, Meta(ge=0, lt=1e9)]
Value = Sentence | bool | int | None
Groups = Annotated[list[tuple[Value, Pids]], Meta(max_length=16)]
Found = Annotated[dict[Word, Groups], Meta(max_length=16)]
Strangers = Annotated[dict[Word, Count], Meta(max_length=64)]


class EventError(Exception):
    """A line begins like an event and is none; the message says what is wrong with it."""


class Took(TypedDict, total=False):
    """What a party took, as fields of its result (`e3.session.results.PartyResult`)."""

    seconds: Required[float]
    cpu_seconds: float
    peak_memory_bytes: int


class Said(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="e3"):
    """Any event of a runner; ``at`` is in seconds since the runner had read its spec."""

    at: Seconds


class Ready(Said, tag="ready", frozen=True):
    """The runner has read its spec; `e3.party.protocol` describes every event."""

    python: Word


class Refused(Said, tag="refused", frozen=True):
    """The program cannot be started."""

    reason: Sentence


class Agreeing(Said, tag="agreeing", frozen=True):
    """The runner compares with the other parties."""


class Agreed(Said, tag="agreed", frozen=True):
    """All are about to run the same."""

    noted: Found
    strangers: Strangers


class Disagreed(Said, tag="disagreed", frozen=True):
    """The parties are about to run different things, or one is missing."""

    result: Literal["incompatible", "unreachable"]
    peer: Pid | None
    by: Pid | None
    detail: Sentence
    found: Found
    strangers: Strangers


class Bounded(Said, tag="bounded", frozen=True):
    """The program's resources are limited now."""

    note: Sentence


class Started(Said, tag="started", frozen=True):
    """The program's process runs."""


class Confined(Said, tag="confined", frozen=True):
    """The program's process has given up rights that it does not need."""

    notes: Annotated[list[Sentence], Meta(max_length=64)]


class Loaded(Said, tag="loaded", frozen=True):
    """The program has imported mpyc."""

    version: Sentence


class Connecting(Said, tag="connecting", frozen=True):
    """The program called ``mpc.start``."""


class Connected(Said, tag="connected", frozen=True):
    """All parties are connected to this one."""


class Sent(Said, tag="sent", frozen=True):
    """What the program has sent so far."""

    total_bytes: Count


class Stranger(Said, tag="stranger", frozen=True):
    """A caller whose address is no party's was rejected."""

    address: Sentence


class Impostor(Said, tag="impostor", frozen=True):
    """A caller that claimed to be a party was rejected."""

    peer: Pid | None
    detail: Sentence


class Lost(Said, tag="lost", frozen=True):
    """A connection to a peer ended too early."""

    peer: Pid
    why: Sentence


class Offended(Said, tag="offended", frozen=True):
    """A party sent what is not allowed."""

    peer: Pid | None
    what: Sentence


class Stopping(Said, tag="stopping", frozen=True):
    """The program called ``mpc.shutdown``."""

    sent_bytes: Annotated[list[Count], Meta(max_length=65_536)]


class Stopped(Said, tag="stopped", frozen=True):
    """All connections are closed."""


class Failed(Said, tag="failed", frozen=True):
    """A coroutine of MPyC met an exception."""

    error: Sentence


class Raised(Said, tag="raised", frozen=True):
    """The program met an exception that nothing caught."""

    error: Sentence


class Cell(Said, tag="cell", frozen=True):
    """The program, a notebook, begins its next cell."""

    number: Count


class Printed(Said, tag="output", frozen=True):
    """The program wrote to one of its streams."""

    stream: Literal["log", "stderr", "stdout"]
    text: Text


class Typed(Said, tag="took", frozen=True):
    """The program can read what was typed."""


class Filed(Said, tag="file", frozen=True):
    """The program has left a file as output, whose pieces follow."""

    name: Annotated[str, Meta(max_length=NAME_BYTES)]
    size: Count


class Piece(Said, tag="piece", frozen=True):
    """The next bytes of that file."""

    data: Annotated[bytes, Meta(max_length=PIECE_BYTES)]


class Kept(Said, tag="kept", frozen=True):
    """The output of the program stays on its host."""

    files: Count
    bytes: Count


class LeftOut(Said, tag="leftout", frozen=True):
    """Part of the output was not taken."""

    files: Annotated[list[tuple[Word, Word]], Meta(max_length=NAMED)]
    total: Count


Output = Filed | Piece | Kept | LeftOut
"""What a runner says of its program's output folder, see `e3.session.outputs`."""


class Alive(Said, tag="alive", frozen=True):
    """The answer to a beat."""


class Exited(Said, tag="exited", frozen=True):
    """The party has ended and nothing of it runs any more."""

    exit: Annotated[int, Meta(ge=-128, le=255)] | None
    why: Literal["", "stop", "flood", "memory", "silence", "end", "report"]
    seconds: Seconds
    written: Annotated[dict[Word, Count], Meta(max_length=len(STREAMS))]
    strays: Count
    fault: Sentence
    cpu_seconds: Seconds = 0.0
    peak_bytes: Count = 0

    @property
    def took(self) -> Took:
        """What the party took."""
        return {
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "peak_memory_bytes": self.peak_bytes,
        }


Event = (
    Ready
    | Refused
    | Agreeing
    | Agreed
    | Disagreed
    | Bounded
    | Started
    | Confined
    | Loaded
    | Connecting
    | Connected
    | Sent
    | Stranger
    | Impostor
    | Lost
    | Offended
    | Stopping
    | Stopped
    | Failed
    | Raised
    | Cell
    | Printed
    | Typed
    | Filed
    | Piece
    | Kept
    | LeftOut
    | Alive
    | Exited
)

ORDER = ("ready", "agreeing", "agreed", "bounded", "started")
"""The order of events before the program runs; each comes at most once."""

BEFORE = frozenset({*ORDER, "alive", "refused", "disagreed", "exited"})
"""The events that a runner may send before the program runs."""

OURS = b'{"e3":'
PIECE = re.compile(rb"[^\n]*\n|[^\n]+")
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def decode(line: bytes) -> Event | None:
    """Return the event in a line; None if the line is not E3's (a banner, a traceback).

    Raises `EventError` if the line begins like an event and is not a valid one.
    """
    if not line.startswith(OURS):
        return None
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        wrong = "nested too deeply" if isinstance(error, RecursionError) else printable(error, 200)
        raise EventError(f"{printable(line.decode(errors='replace'), 60)} ({wrong})") from None


MOST_BYTES = 32_000_000
"""The most that a runner may write, besides `ESCAPED` times its program's output."""

ESCAPED = 8
"""The most bytes that one byte of output takes as JSON, with its share of the event."""

FILE_ESCAPED, FILE_BYTES = 2, 3 * NAME_BYTES
"""The same of an output file: what one byte takes, and the event with its name."""


def most_bytes(spec: Spec) -> int:
    """Return the most bytes that the runner of a party may write."""
    files = FILE_ESCAPED * spec.output_bytes + FILE_BYTES * spec.output_files
    return ESCAPED * spec.flood_bytes + files + MOST_BYTES


class Incoming:
    """Splits what a runner writes into lines; holds no more than one line."""

    def __init__(self, most_bytes: int) -> None:
        """Accept at most ``most_bytes`` in all."""
        self._most_bytes = self._left_bytes = most_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that are complete with ``data``; raise `EventError` past a limit."""
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise EventError(f"more than {self._most_bytes // 1_000_000} MB")
        for piece in PIECE.findall(data):
            self._rest += piece
            if len(self._rest) > LINE_BYTES:
                start = self._rest[:60].decode(errors="replace")
                raise EventError(f"a line of more than {LINE_BYTES} bytes: {printable(start)}...")
            if piece.endswith(b"\n"):
                yield self.rest()

    def rest(self) -> bytes:
        """Return the unfinished line that is left at the end."""
        line = bytes(self._rest)
        self._rest.clear()
        return line
