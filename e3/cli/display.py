"""Show a session: as a live table on a terminal, else as a line for each change."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent
from typing import Any

from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from e3.cli import terminal
from e3.cli.terminal import plain
from e3.remote.text import printable, printable_lines
from e3.session.plan import Plan
from e3.session.programs import counted
from e3.session.progress import PartyProgress
from e3.session.verdicts import Verdict

REFRESH_SECONDS = 0.1
REASON_LENGTH = 4000
MOST_LINES = 40
"""The most lines of a party's output that are shown; its log has more."""


class Display:
    """An `e3.session.progress.Observer` of one session; subclasses show its progress."""

    of_stack = True
    """Whether `e3 logs` and `e3 output` find the session: it is one of a stack."""

    def __init__(self, console: Console) -> None:
        """Write to ``console``."""
        self.console = console
        self._look: Callable[[], Sequence[PartyProgress]] = tuple
        self._evidence: Path | None = None

    def waiting(self, session: str) -> None:
        """See `Observer`."""
        self.console.print(plain(f"waiting for run {session} to end", "yellow"))

    def preparing(self, what: str) -> None:
        """See `Observer`."""
        self.console.print(plain(what, "yellow"))

    def began(
        self, session: str, evidence: Path, look: Callable[[], Sequence[PartyProgress]]
    ) -> None:
        """See `Observer`."""
        self._look, self._evidence = look, evidence
        self.console.print(plain(f"run {session}", "bold"))

    def ending(self) -> None:
        """Say that the session is being cancelled."""
        self.console.print("stopping all parties", style="yellow")

    def refresh(self) -> None:
        """Show the present state."""

    async def follow(self) -> None:
        """Refresh until cancelled."""
        while True:
            self.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    def evidence(self) -> Mapping[str, Any] | None:
        """Return the result that a cancelled session left; None if it had not begun."""
        if self._evidence is None:
            return None
        result: Mapping[str, Any] = json.loads((self._evidence / "result.json").read_text())
        return result

    def conclude(self, result: Mapping[str, Any]) -> None:
        """Show a result: what the parties printed, and the verdict."""
        for parties, output in _outputs(result["parties"]):
            self.console.print(plain(f"{parties}:", "bold"))
            self.console.print(Text(indent(_shortened(output), "  ")))
        count = sum(party.get("output_files", 0) for party in result["parties"])
        if count and self.of_stack:
            self.console.print(plain(f"output: {counted(count)}, `e3 output get {result['id']}`"))
        setup, online = result["setup_seconds"], result["online_seconds"]
        times = f"{result['wall_seconds']:.1f} s"
        if setup is not None and online is not None:
            times += f": {setup:.1f} s set-up, {online:.1f} s online"
        reason = printable(result["reason"], REASON_LENGTH)
        self.console.print(Text.assemble(terminal.word(result["verdict"]), f": {reason} ({times})"))
        if result["advice"]:
            self.console.print(plain(f"advice: {result['advice']}"))
        for note in result["notes"]:
            self.console.print(plain(f"note: {note}"))
        if result["verdict"] not in {Verdict.COMPLETED, Verdict.CANCELLED}:
            logs = f" (`e3 logs {result['id']}`)" if self.of_stack else ""
            self.console.print(plain(f"evidence: {result['evidence']}{logs}"))


class Lines(Display):
    """One line for each change of a party."""

    def __init__(self, console: Console) -> None:
        """Write to ``console``."""
        super().__init__(console)
        self._shown: dict[int, str] = {}

    def refresh(self) -> None:
        """See `Display`."""
        for party in self._look():
            if self._shown.get(party.pid) != party.phase:
                self._shown[party.pid] = party.phase
                who = f"party {party.pid} ({party.host})"
                phase = printable(party.phase, REASON_LENGTH)
                # without the program's own output: `e3 logs` has it, and `conclude` shows it
                self.console.print(plain(f"{party.seconds:6.1f} s  {who}: {phase}"))


class Moving(Display):
    """A live table with a line for each party."""

    def __init__(self, live: Live) -> None:
        """Show all in ``live``."""
        super().__init__(live.console)
        self._live = live

    def refresh(self) -> None:
        """See `Display`."""
        parties = self._look()
        if parties:
            self._live.update(Group(_table(parties), Text()), refresh=True)


@contextmanager
def display(
    stack: str, seats: Plan, overlay: str, *, quietly: bool, typed: bool = False
) -> Iterator[Display]:
    """Yield a display for a session; ``quietly`` leaves standard output to the caller.

    ``typed`` leaves the terminal to what a party prints while a person types.
    """
    console = terminal.console(stderr=quietly)
    count = len(seats.seats)
    if console.is_terminal or not quietly:
        what = f"{count} part{'y' if count == 1 else 'ies'} over {overlay}"
        console.print(plain(f"{seats.program.path} on stack {stack}: {what}"))
    with shown_on(console, quietly=quietly, typed=typed) as shown:
        yield shown


@contextmanager
def shown_on(console: Console, *, quietly: bool, typed: bool = False) -> Iterator[Display]:
    """Yield a display of a session on a console, without any headline."""
    if typed:
        yield Typed(console)
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False, redirect_stdout=False) as live:
            yield Moving(live)
    else:
        yield Silent(console) if quietly else Lines(console)


class Typed(Display):
    """Shows nothing while the session runs: the caller sees what party 0 prints."""

    def conclude(self, result: Mapping[str, Any]) -> None:
        """See `Display`."""
        parties = [
            {**party, "output": party["output"] * bool(party["pid"])} for party in result["parties"]
        ]
        super().conclude({**result, "parties": parties})


class Silent(Display):
    """Shows only that the session waits: for output that is read by a program."""

    def began(
        self, session: str, evidence: Path, look: Callable[[], Sequence[PartyProgress]]
    ) -> None:
        """See `Observer`."""
        del session, look
        self._evidence = evidence


def _table(parties: Sequence[PartyProgress]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("pid", justify="right")
    for name in ("host", "phase"):
        table.add_column(name, no_wrap=True)
    for name in ("seconds", "sent"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last line", no_wrap=True, overflow="ellipsis", ratio=1)
    for party in parties:
        going = party.state == "going"
        phase = Text(printable(party.phase), terminal.COLOURS["going"])
        table.add_row(
            str(party.pid),
            plain(party.host),
            phase if going else terminal.word(party.state),
            f"{party.seconds:.1f}",
            "" if party.sent_bytes is None else decimal(party.sent_bytes),
            Text(printable(party.phase if party.state == "failed" else party.line)),
        )
    return table


def _outputs(parties: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return what was printed, by whom: parties that printed the same stand together."""
    by_output: dict[str, list[str]] = {}
    for party in parties:
        if party["output"].strip():
            by_output.setdefault(party["output"], []).append(f"{party['pid']} ({party['host']})")
    if len(parties) > 1 and [len(names) for names in by_output.values()] == [len(parties)]:
        return [(f"all {len(parties)} parties", parties[0]["output"])]
    return [
        (f"{'party' if len(names) == 1 else 'parties'} {', '.join(names)}", output)
        for output, names in by_output.items()
    ]


def _shortened(output: str) -> str:
    lines = printable_lines(output.rstrip()).splitlines()
    left_out = len(lines) - MOST_LINES
    # the result itself may have only the begin and the end, so the number would not be true
    return "\n".join(
        ["[more lines before, see `e3 logs`]", *lines[left_out:]] if left_out > 0 else lines
    )
