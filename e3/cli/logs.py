"""``e3 logs``: show what the parties of a run wrote."""

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from e3.cli import terminal
from e3.cli.place import Verbs
from e3.cli.runs import find
from e3.errors import E3Error
from e3.remote.text import printable_lines
from e3.session.runs import RecordedRun, resolve

LOOK_SECONDS = 0.2

LINE_BYTES = 1_000_000
"""A longer line is printed in parts: a log may be one line of 100 MB."""


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser("logs", help="show what the parties of a run wrote")
    verb.add_argument(
        "run", metavar="RUN", help="latest, or the unique beginning or end of a run's name"
    )
    verb.add_argument("host", metavar="HOST", nargs="?", help="default: every host")
    verb.add_argument("--stack", metavar="STACK", help="default: every stack")
    verb.add_argument("--follow", "-f", action="store_true", help="continue until the run ends")
    terminal.offer_json(verb, "each line, with its host,")
    verb.set_defaults(do=show_logs)


def show_logs(arguments: argparse.Namespace) -> int:
    """Print the logs; each line begins with its host if there are several.

    With ``--json`` each line is an object of its own, so that it can be followed.
    """
    run = find(arguments.run, arguments.stack)
    hosts = _hosts(run, arguments.host)
    width = max(map(len, hosts))
    tails = [
        _Tail(
            run.folder / f"{host}.log",
            "" if arguments.host else f"{host:<{width}} | ",
            host=host if arguments.json else None,
        )
        for host in hosts
    ]
    while True:
        going = arguments.follow and resolve(run.folder.parent, run.id)[0].running
        for tail in tails:
            tail.print(whole=not going)
        if not going:
            return 0
        sys.stdout.flush()
        time.sleep(LOOK_SECONDS)  # nothing else tells that a file has grown


def _hosts(run: RecordedRun, asked: str | None) -> tuple[str, ...]:
    # a run that was killed at its start has no manifest; another version's may have other keys
    hosts = run.hosts or tuple(sorted(path.stem for path in run.folder.glob("*.log")))
    if asked is not None and asked not in hosts:
        raise E3Error(
            f"no party of run {run.id} was on {asked!r}; choose one of {', '.join(hosts)}"
        )
    if not hosts:
        raise E3Error(f"run {run.id} has no logs: it ended before any party began")
    return hosts if asked is None else (asked,)


@dataclass
class _Tail:
    """A log that may still grow."""

    path: Path
    prefix: str
    host: str | None
    offset: int = 0
    raw: bool = field(default_factory=lambda: not sys.stdout.isatty())

    def print(self, *, whole: bool) -> None:
        """Print new lines; if ``whole``, also a last one without a newline."""
        try:
            with self.path.open("rb") as log:
                log.seek(self.offset)
                while line := log.readline(LINE_BYTES):
                    if not (whole or line.endswith(b"\n") or len(line) == LINE_BYTES):
                        return
                    self.offset += len(line)
                    self._show(line)
        except FileNotFoundError:  # the party has not begun
            return

    def _show(self, line: bytes) -> None:
        for part in line.decode(errors="replace").splitlines():
            if self.host is not None:
                text = json.dumps({"host": self.host, "line": part})
            else:
                text = f"{self.prefix}{part if self.raw else printable_lines(part)}"
            sys.stdout.write(f"{text}\n")
