"""What a party's runner says, decoded into typed values of bounded size: a closed list.

The words are those of `e3.party.protocol`. Whoever owns a host can have its runner say anything,
so nothing else of the deployer reads such a line: what `decode` returns is one of `Event`, or no
line of E3's, and what it raises names what is wrong.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from e3.party.protocol import STREAMS
from e3.remote.text import printable

LINE_BYTES = 262_144
"""Of one line; the longest honest one tells the differences among many parties."""

Word = Annotated[str, Meta(max_length=256)]
Sentence = Annotated[str, Meta(max_length=4096)]
Output = Annotated[str, Meta(max_length=32_768)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Pid = Annotated[int, Meta(ge=0, lt=2**31)]
Pids = Annotated[list[Pid], Meta(max_length=65_536)]
Seconds = Annotated[float, Meta(ge=0, lt=1e9)]
Value = Sentence | bool | int | None
Groups = Annotated[list[tuple[Value, Pids]], Meta(max_length=16)]
Found = Annotated[dict[Word, Groups], Meta(max_length=16)]
Strangers = Annotated[dict[Word, Count], Meta(max_length=64)]


class EventError(Exception):
    """A line begins as one of E3's and is none; the message says what is wrong with it."""


class Said(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="e3"):
    """Anything that a runner says; ``at`` are the seconds since it had read its spec."""

    at: Seconds


class Ready(Said, tag="ready", frozen=True):
    """See `e3.party.protocol`, as for all of these."""

    python: Word


class Refused(Said, tag="refused", frozen=True):
    """The program cannot be started."""

    reason: Sentence


class Agreeing(Said, tag="agreeing", frozen=True):
    """It compares with the other parties."""


class Agreed(Said, tag="agreed", frozen=True):
    """All are about to run the same."""

    noted: Found
    strangers: Strangers


class Disagreed(Said, tag="disagreed", frozen=True):
    """They are not, or one is not there."""

    result: Literal["incompatible", "unreachable"]
    peer: Pid | None
    by: Pid | None
    detail: Sentence
    found: Found
    strangers: Strangers


class Bounded(Said, tag="bounded", frozen=True):
    """It is about to be."""

    note: Sentence


class Started(Said, tag="started", frozen=True):
    """The program's process runs."""


class Confined(Said, tag="confined", frozen=True):
    """It has given up what it does not need."""

    notes: Annotated[list[Sentence], Meta(max_length=64)]


class Loaded(Said, tag="loaded", frozen=True):
    """The program has imported mpyc."""

    version: Sentence


class Connecting(Said, tag="connecting", frozen=True):
    """The program called ``mpc.start``."""


class Connected(Said, tag="connected", frozen=True):
    """All parties are connected to it."""


class Sent(Said, tag="sent", frozen=True):
    """What it has sent so far."""

    total_bytes: Count


class Stranger(Said, tag="stranger", frozen=True):
    """A caller that is no party was turned away."""

    address: Sentence


class Impostor(Said, tag="impostor", frozen=True):
    """A party was turned away."""

    peer: Pid | None
    detail: Sentence


class Lost(Said, tag="lost", frozen=True):
    """A connection ended before its time."""

    peer: Pid


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


class Printed(Said, tag="output", frozen=True):
    """The program wrote to one of its streams."""

    stream: Literal["log", "stderr", "stdout"]
    text: Output


class Alive(Said, tag="alive", frozen=True):
    """The answer to a beat."""


class Exited(Said, tag="exited", frozen=True):
    """All is over."""

    exit: Annotated[int, Meta(ge=-128, le=255)] | None
    why: Literal["", "stop", "flood", "memory", "silence", "end", "report"]
    seconds: Seconds
    written: Annotated[dict[Word, Count], Meta(max_length=len(STREAMS))]
    strays: Count
    fault: Sentence


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
    | Printed
    | Alive
    | Exited
)

OURS = b'{"e3":'
PIECE = re.compile(rb"[^\n]*\n|[^\n]+")
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def decode(line: bytes) -> Event | None:
    """Return what a line says, None if it is none of E3's (a banner, a traceback).

    Raises `EventError` if it begins as one and says nothing that a runner may say.
    """
    if not line.startswith(OURS):
        return None
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        wrong = "nested too deeply" if isinstance(error, RecursionError) else printable(error, 200)
        raise EventError(f"{printable(line.decode(errors='replace'), 60)} ({wrong})") from None


class Incoming:
    """The lines of one runner, in whatever pieces they come; holds no more than one line."""

    def __init__(self, most_bytes: int) -> None:
        """Take at most ``most_bytes`` in all."""
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
        """Return what has come of a line that has no end, at the end of all."""
        line = bytes(self._rest)
        self._rest.clear()
        return line
