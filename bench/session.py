"""What a session costs: its wall time against that of the same program run by hand.

On one machine, over hosts of a lab without latency and the overlay `plain`, against
`python PROGRAM -M m`; both in turn. On a busy machine the session looks too good: Linux
shares the processors out by groups of processes (sched_autogroup), and each party of a
session is a group of its own, while all parties by hand are one; so the load is kept, too.
Prints a line for each program and number of parties, and the raw numbers as JSON:

    python -m bench.session --repetitions 7
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from e3.interfaces import Host
from e3.lab.client import start, stop
from e3.session.plan import plan
from e3.session.programs import load
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict

DEMOS = Path(__file__).resolve().parents[1] / "demos"
REGION = "here"
DEADLINE_SECONDS = 120.0
LIMIT = 1.15
"""At most so many times the wall time by hand."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is run: the work is the same in each run."""

    program: str
    args: tuple[str, ...]
    parties: int


CASES = [
    Case(program=name, args=args, parties=parties)
    for name, args in (("helloworld", ()), ("auction", ("--bids", "10", "--seed", "1")))
    for parties in (3, 10)
]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The wall times of one case, run in turn by hand and as a session, in seconds."""

    case: Case
    hand_seconds: list[float] = field(default_factory=list)
    session_seconds: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The session's median over the median by hand."""
        return statistics.median(self.session_seconds) / statistics.median(self.hand_seconds)

    def __str__(self) -> str:
        """Return one line for a person."""
        hand, session = map(statistics.median, (self.hand_seconds, self.session_seconds))
        mark = "" if self.ratio <= LIMIT else f"  more than {LIMIT}"
        name = f"{self.case.program}, {self.case.parties} parties"
        return f"{name:<26} {hand:6.2f} s by hand, {session:6.2f} s session: {self.ratio:.2f}{mark}"


@contextmanager
def hosts_of_a_lab(count: int) -> Iterator[list[Host]]:
    """Hold hosts of one region, with no latency between them."""
    with tempfile.TemporaryDirectory() as folder:
        lab = start(Path(folder), {(REGION, REGION): 0.0})
        try:
            lab.add_region(REGION)
            handles = lab.add_hosts([(f"{REGION}-{i}", REGION) for i in range(count)])
            yield [handle.host() for handle in handles]
        finally:
            stop(Path(folder))


def by_hand(case: Case) -> float:
    """Return the seconds that MPyC's own way takes on this machine."""
    argv = [sys.executable, f"{case.program}.py", f"-M{case.parties}", *case.args]
    began = time.monotonic()
    subprocess.run(argv, cwd=DEMOS, stdout=subprocess.DEVNULL, check=True, timeout=DEADLINE_SECONDS)
    return time.monotonic() - began


def as_session(case: Case, hosts: Sequence[Host], sessions: Path) -> float:
    """Return the seconds from a plan to its result."""
    began = time.monotonic()
    seats = plan(
        hosts=hosts,
        addresses={host.name: host.underlay for host in hosts},
        program=load(DEMOS / f"{case.program}.py", case.args),
        parties=case.parties,
    )
    result = asyncio.run(
        run_session(
            SessionSpec(
                plan=seats,
                hosts=hosts,
                overlay="plain",
                sessions=sessions,
                deadline_seconds=DEADLINE_SECONDS,
            )
        )
    )
    if result.verdict is not Verdict.COMPLETED:
        raise SystemExit(f"{case.program}: {result.verdict}: {result.reason}")
    return time.monotonic() - began


def measure(repetitions: int) -> list[Measurement]:
    """Run every case so many times in both ways, after one run of each that does not count."""
    measurements = [Measurement(case=case) for case in CASES]
    most = max(case.parties for case in CASES)
    with tempfile.TemporaryDirectory() as folder, hosts_of_a_lab(most) as hosts:
        for repetition in range(repetitions + 1):
            for one in measurements:
                hand = by_hand(one.case)
                session = as_session(one.case, hosts, Path(folder))
                if repetition:
                    one.hand_seconds.append(hand)
                    one.session_seconds.append(session)
    return measurements


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure what a session costs.")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    load = os.getloadavg()[0]
    measurements = measure(parser.parse_args(argv).repetitions)
    for one in measurements:
        print(one)
    results: dict[str, object] = {
        "session": [{**asdict(one), "ratio": one.ratio} for one in measurements],
        "session_load_average": load,
    }
    print(json.dumps(results))
    return results


if __name__ == "__main__":
    main()
