"""Reduce the events of one party's runner to its progress and its end.

Pure: it takes a line and the time, and returns text for the party's log. No line makes it raise,
and what it keeps is bounded. What a party says of another one is kept as a claim:
`e3.session.verdicts` decides what follows from it.
"""

from collections.abc import Mapping
from functools import singledispatchmethod

import msgspec

from e3.party.protocol import REFUSED_STATUS, Spec
from e3.remote.text import printable
from e3.session import agreement, events
from e3.session.events import BEFORE, ORDER, Event, EventError, Said
from e3.session.outputs import PartyOutput
from e3.session.plan import Seat
from e3.session.progress import PHASES, WAITING, PartyProgress, State
from e3.session.results import PartyResult
from e3.session.sent import SentBytes
from e3.session.transcript import Transcript
from e3.session.verdicts import End, How
from e3.session.watchdog import PartyMilestones

MB = 1_000_000

RESULT_CHARACTERS = 65_536
"""The most characters of a party's output in the result; the log has more."""

DETAIL_LENGTH = 2000
"""The most characters of why a party ended: enough to list differences among many parties."""

LOSS_LENGTH = 100
"""The most characters of how a connection ended."""

SLACK_BYTES = MB
"""How much a correct runner may have forwarded beyond the limit before it notices."""

LOOP_STOPPED = "RuntimeError: Event loop stopped"


class Record:
    """One party, as the events of its runner describe it."""

    def __init__(
        self, seat: Seat, spec: Spec, names: Mapping[int, str], output: PartyOutput
    ) -> None:
        """Start with a party of which nothing is known; ``names`` are the hosts by pid."""
        self.seat = seat
        self.output = output
        self.printed = Transcript(RESULT_CHARACTERS)  # on standard output
        self.end: End | None = None
        self.phase = "shipping the program"
        self.versions: dict[str, str] = {}
        self.connected_seconds: float | None = None
        """When all parties were connected to this one, in seconds since the session began."""
        self.served_seconds: float | None = None
        """When it had its last result: its last shutdown, else its end; since the session began."""
        self.lost: dict[int, float] = {}
        """The peers that it reports as lost while it needed them, and when."""
        self.ended_seconds: float | None = None
        self.removed = False
        """Whether its runner has removed its folder."""
        self._names = names
        self._spec = spec
        self._ready_seconds: float | None = None
        self._connecting_seconds: float | None = None
        self._begun_seconds = 0.0
        """When the runner's clock began, estimated from the arrival of its first event."""
        self._step = -1  # of `ORDER`
        self._link = "none"
        """The state of its connections to peers: none, connecting, connected or stopping."""
        self._took: events.Took = {"seconds": 0.0}
        self._sent = SentBytes()
        self._printed = 0
        self._loss = ""
        self._error = ""
        self._place = ""  # in a notebook
        self._complaint = ""
        self._offence = ""
        self._accused: int | None = None
        self._about: tuple[int, ...] | None = None
        self._discord: dict[str, bool | int | None] = {}
        self._parted = False
        self._log: list[str] = []
        self._now = 0.0

    @property
    def complaint(self) -> str:
        """The last line that the program or the runner wrote to standard error."""
        return printable(self._complaint)

    @property
    def result(self) -> PartyResult:
        """The party's part of the session's result."""
        return PartyResult(
            pid=self.seat.pid,
            host=self.seat.host,
            exit=None if self.end is None else self.end.exit,
            sent_bytes=self._sent.total,
            sent_bytes_to=self._sent.to,
            output=str(self.printed),
            output_files=self.output.files,
            output_files_bytes=self.output.bytes,
            **self._took,
        )

    @property
    def milestones(self) -> PartyMilestones:
        """When this party reached its milestones."""
        return PartyMilestones(
            ready_seconds=self._ready_seconds,
            agreeing=ORDER[self._step] == "agreeing",
            connecting_seconds=self._connecting_seconds,
            connected_seconds=self.connected_seconds,
            lost_seconds=min(self.lost.values(), default=None),
            ended=self.end is not None,
        )

    def progress(self, now: float) -> PartyProgress:
        """Return what an observer sees ``now``, in seconds since the session began."""
        state, phase = self._describe_state()
        return PartyProgress(
            pid=self.seat.pid,
            host=self.seat.host,
            state=state,
            phase=phase,
            seconds=now if self.ended_seconds is None else self.ended_seconds,
            sent_bytes=self._sent.so_far,
            line=self.printed.last_line,
        )

    def current_end(self, *, all_connected: bool) -> End:
        """Return how the party ended, or how it would end now."""
        if self.phase in {PHASES["connected"], WAITING}:
            self.phase = PHASES["connected"] if all_connected else WAITING
        return self.end or self._make_end("stopped", detail=self._error)

    def hear(self, line: bytes, now: float) -> str:
        """Process one line of the runner, received ``now``; return text for the log."""
        self._now = now
        try:
            event = events.decode(line)
            if event is None:
                self._take_foreign(line.decode(errors="replace"))
            else:
                self._take(event)
        except EventError as error:
            self._garble(str(error))
        return self._said()

    def garble(self, what: str, now: float) -> str:
        """End the party because its runner broke the protocol; return text for the log."""
        self._now = now
        self._garble(what)
        return self._said()

    def finish(self, how: How, now: float, detail: str = "") -> str:
        """Record how the party ended, if it has not ended before; return text for the log."""
        self._now = now
        self._finish(how, detail=detail)
        return self._said()

    def _said(self) -> str:
        text = "".join(self._log)
        self._log.clear()
        return text

    def _garble(self, what: str) -> None:
        self._finish("garbled", detail=f"its runner broke the protocol: {what}")

    def _finish(self, how: How, *, status: int | None = None, detail: str = "") -> None:
        if self.end is None:
            self.end = self._make_end(how, status=status, detail=printable(detail, DETAIL_LENGTH))
            self.ended_seconds = self._now
            self._remark(self.end.reason)

    def _remark(self, text: str) -> None:
        """Add a remark of E3's own to the log."""
        self._log.append(f"[e3: {text}]\n")

    def _describe_state(self) -> tuple[State, str]:
        if self.end is None:
            return "going", f"{self.phase}{self._place}"
        if self.end.how == "stopped":
            return "stopped", "stopped"
        return ("failed", self.end.reason) if self.end.failed else ("done", "done")

    def _make_end(self, how: How, *, status: int | None = None, detail: str = "") -> End:
        # it ended because of what it read: it refused that, or was killed by it
        fell = status is not None and (status == REFUSED_STATUS or status < 0)
        refused = self._accused is not None and fell
        lost = () if how == "garbled" else tuple(self.lost)  # none of its claims are believed
        return End(
            pid=self.seat.pid,
            host=self.seat.host,
            how=how,
            phase=f"{self.phase}{self._place}",
            exit=status,
            detail=self._offence if refused else detail,
            lost=lost,
            loss=self._loss if lost else "",
            # a party that accuses and goes on, or ends in another way, contradicts itself
            accused=self._accused if refused or how == "stopped" else None,
            about=self._about,
            **self._discord,  # type: ignore[arg-type]  # of these fields
            parted=self._parted,
        )

    def _take_foreign(self, text: str) -> None:
        self._complaint = text.strip()[:DETAIL_LENGTH] or self._complaint
        self._log.append(text)

    def _take(self, event: Event) -> None:
        kind = str(event.__struct_config__.tag)
        self._check_order(kind)
        self.phase = PHASES.get(kind, self.phase)
        if kind == "ready":
            self._begun_seconds = max(self._now - event.at, 0.0)
        # a wrong clock or a false time of a runner never yields a time after this moment
        self._note(event, min(self._begun_seconds + event.at, self._now))

    def _check_order(self, kind: str) -> None:
        step = ORDER.index(kind) if kind in ORDER else None
        running = self._step == len(ORDER) - 1
        if (step is not None and step <= self._step) or (not running and kind not in BEFORE):
            last = ORDER[self._step] if self._step >= 0 else "nothing"
            raise EventError(f"'{kind}' after '{last}'")
        if step is not None:
            self._step = step

    def _peer(self, pid: int) -> int:
        """Return ``pid`` if it is that of another party; raise `EventError` if not."""
        if pid not in self._names or pid == self.seat.pid:
            raise EventError(f"{pid} as the index of another party")
        return pid

    @singledispatchmethod
    def _note(self, event: Said, at: float) -> None:
        """Keep what an event says; events without a method below say nothing that is kept."""

    @_note.register
    def _(self, event: events.Ready, _at: float) -> None:
        self.versions["python"] = printable(event.python)
        self._ready_seconds = self._begun_seconds

    @_note.register
    def _(self, event: events.Refused, _at: float) -> None:
        self.removed = True
        self._finish("refused", detail=event.reason)

    @_note.register
    def _(self, event: events.Agreed, _at: float) -> None:
        self._remark_strangers(event.strangers)
        if event.noted:
            self._remark(f"that may differ: {agreement.sentence(event.noted, self._names)}")

    @_note.register
    def _(self, event: events.Disagreed, _at: float) -> None:
        self.removed = True
        self._remark_strangers(event.strangers)
        report = msgspec.structs.asdict(event)
        how, reason = agreement.explain(report, self.seat.pid, self._names)
        self._about = agreement.about(report, self._names) or None
        self._discord = {
            "says_why": self._about is not None,
            "called_off_by": event.by,
            "compared": agreement.compared(report, self._names),
        }
        self._finish(how, detail=reason)

    def _remark_strangers(self, strangers: Mapping[str, int]) -> None:
        for address, count in strangers.items():
            times = "once" if count == 1 else f"{count} times"
            self._remark(f"{printable(address)}, no party's address, was turned away {times}")

    @_note.register
    def _(self, event: events.Bounded, _at: float) -> None:
        note = printable(event.note)
        self.versions["bounded"] = note or "by the kernel"
        if note:
            self._remark(note)

    @_note.register
    def _(self, event: events.Confined, _at: float) -> None:
        notes = [printable(note) for note in event.notes]
        self.versions["confined"] = "; ".join(notes) if notes else "fully"
        for note in notes:
            self._remark(f"the program is not fully confined: {note}")

    @_note.register
    def _(self, event: events.Loaded, _at: float) -> None:
        self.versions["mpyc"] = printable(event.version)

    @_note.register
    def _(self, event: events.Printed, _at: float) -> None:
        self._printed += len(event.text)
        self._log.append(event.text)
        if event.stream == "stdout":
            self.printed.add(event.text)
        elif event.stream == "stderr":
            self._complaint = event.text.strip().rpartition("\n")[2] or self._complaint
        if self._printed > self._spec.flood_bytes + SLACK_BYTES:
            self._flood()

    @_note.register
    def _(self, event: events.Output, _at: float) -> None:
        for remark in self.output.take(event):
            self._remark(remark)

    @_note.register
    def _(self, _event: events.Connecting, at: float) -> None:
        if self._link != "connected":  # a connected party rejects nobody
            self._link = "connecting"
        if self._connecting_seconds is None:
            self._connecting_seconds = at

    @_note.register
    def _(self, _event: events.Connected, at: float) -> None:
        self._link = "connected"
        if self.connected_seconds is None:
            self.connected_seconds = at

    @_note.register
    def _(self, event: events.Sent, _at: float) -> None:
        self._sent.current = event.total_bytes

    @_note.register
    def _(self, event: events.Stopping, at: float) -> None:
        self._link = "stopping"
        self._sent.end(tuple(event.sent_bytes))
        self.served_seconds = at

    @_note.register
    def _(self, _event: events.Stopped, _at: float) -> None:
        self._link = "none"
        self._parted = True

    @_note.register
    def _(self, event: events.Stranger, _at: float) -> None:
        self._remark_strangers({event.address: 1})

    @_note.register
    def _(self, event: events.Impostor, _at: float) -> None:
        peer = None if event.peer is None else self._peer(event.peer)
        reason = agreement.accuse(peer, event.detail, self.seat.pid, self._names)
        if self._link != "connecting":
            # MPyC's listener is open only while it connects: this event is late, or false
            self._remark(f"{reason}, while it was not connecting: nothing follows from that")
            return
        if peer is not None:
            # after it was connected to all, this is one party's word against another's
            self._about = () if self.connected_seconds is not None else (peer,)
        self._finish("incompatible", detail=reason)

    @_note.register
    def _(self, event: events.Lost, at: float) -> None:
        peer = self._peer(event.peer)
        if not self._error and self._link != "none":  # what is lost after an error follows from it
            self.lost.setdefault(peer, at)
            self._loss = self._loss or printable(event.why, LOSS_LENGTH)

    @_note.register
    def _(self, event: events.Offended, _at: float) -> None:
        self._accused = None if event.peer is None else self._peer(event.peer)
        self._offence = printable(event.what)
        if self._accused is None:
            self._error = f"it refused a pickle with {self._offence}"

    @_note.register
    def _(self, event: events.Failed, _at: float) -> None:
        self._error = self._error or printable(event.error, DETAIL_LENGTH)

    @_note.register
    def _(self, event: events.Raised, _at: float) -> None:
        # MPyC stops the loop when a coroutine fails; the exception there is the cause
        if not (self._error and event.error.startswith(LOOP_STOPPED)):
            self._error = printable(event.error, DETAIL_LENGTH) + self._place

    @_note.register
    def _(self, event: events.Cell, _at: float) -> None:
        self._place = f" (cell {event.number})"

    @_note.register
    def _(self, event: events.Exited, at: float) -> None:
        self.removed = True
        self._took = event.took
        if self.served_seconds is None:
            self.served_seconds = at
        if event.strays:
            self._remark(f"{event.strays} processes left behind were killed")
        if event.why == "flood":
            self._flood()
        elif event.why == "memory":
            limit = f"{self._spec.memory_bytes // MB} MB"
            self._finish("bloated", detail=f"its processes took more than {limit} together")
        elif event.why == "report":
            fault = printable(event.fault)
            self._finish("garbled", detail=f"its program sent a forbidden report: {fault}")
        elif event.exit is None:
            self._finish("stopped")
        else:
            detail = self._error or self.complaint if event.exit else ""
            self._finish("exited", status=event.exit, detail=detail)

    def _flood(self) -> None:
        limit = f"{self._spec.flood_bytes // MB} MB"
        self._finish("flooded", detail=f"it printed more than {limit}; have it print less")
