"""What `e3 run` costs beside its session: paired with the same program by hand.

On a stack of three hosts without latency, in turn: `python helloworld.py -M3`, and
`e3 run helloworld.py`. The session's own time is in its result; the rest is the command's: starting
Python and loading E3, reading state and configuration, and asking whether all hosts answer.

    python -m bench.command --repetitions 7

On a busy machine of two cores, in turn with scheduling of real time (`chrt -f 30`), it took 0.76 s
beside its session when it loaded all verbs and asked Pulumi for the state, and 0.34 s since then.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import stack
from e3.didcomm.messages import Identity
from e3.didcomm.session import invitation as invitations
from e3.didcomm.session.invitation import Invitation

PROGRAM = Path("demos/helloworld.py")
PARTIES = 3
VALUES = {"overlay": "plain", "program": str(PROGRAM)}
OBJECTS = {"regions.here": str(PARTIES), "latency-ms.all": "0"}
LIMIT_SECONDS = 0.3
JOIN_SECONDS = 2.0
DEADLINE_SECONDS = 120.0


@dataclass
class Measurement:
    """Seconds of each repetition; those ``beside`` are of the command without its session."""

    hand_seconds: list[float] = field(default_factory=list)
    command_seconds: list[float] = field(default_factory=list)
    session_seconds: list[float] = field(default_factory=list)
    beside_seconds: list[float] = field(default_factory=list)
    load_seconds: list[float] = field(default_factory=list)
    join_seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the medians, and the limit."""
        names = {
            "hand_seconds": "by hand",
            "command_seconds": "e3 run",
            "session_seconds": "  of it the session",
            "beside_seconds": f"  beside it (at most {LIMIT_SECONDS:g})",
            "load_seconds": "    of that Python and loading E3",
            "join_seconds": f"e3 join starts (at most {JOIN_SECONDS:g})",
        }
        medians = {name: statistics.median(getattr(self, name)) for name in names}
        return "\n".join(f"{names[name]:34} {seconds:6.2f} s" for name, seconds in medians.items())


def timed(argv: Sequence[str | Path], **options: Any) -> tuple[float, bytes]:  # noqa: ANN401 -- of subprocess.run
    """Return the seconds that a command takes, and its standard output."""
    began = time.monotonic()
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, check=True, timeout=DEADLINE_SECONDS, **options
    )
    return time.monotonic() - began, done.stdout


def once(result: Measurement) -> None:
    """Run the program both ways, and load E3 alone."""
    hand, _ = timed(
        [sys.executable, PROGRAM.name, f"-M{PARTIES}"],
        cwd=PROGRAM.parent,
        stderr=subprocess.DEVNULL,
    )
    command, said = timed(["e3", "run", PROGRAM, "--stack", stack.STACK, "--json"])
    session: Mapping[str, Any] = json.loads(said)
    load, _ = timed([sys.executable, "-c", "import gc; gc.disable(); import e3.cli.run"])
    result.hand_seconds.append(hand)
    result.command_seconds.append(command)
    result.session_seconds.append(session["wall_seconds"])
    result.beside_seconds.append(command - session["wall_seconds"])
    result.load_seconds.append(load)
    result.join_seconds.append(started())


def started() -> float:
    """Return the seconds until `e3 join` has read a link, and calls its mediator, which is none."""
    began = time.monotonic()
    done = subprocess.run(
        ["e3", "join", link()],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert "no mediator" in done.stderr, done.stderr  # noqa: S101 - else it did not come so far
    return time.monotonic() - began


def link() -> str:
    """Return the link of an invitation whose mediator is not there."""
    now, did = int(time.time()), Identity.make().did
    return invitations.link(
        Invitation(
            sid=invitations.new_id(),
            did=did,
            identity=did,
            name="Alice",
            token=invitations.new_id(),
            mediator="http://127.0.0.1:9/",
            program="auction",
            digest="0" * 64,
            parties=PARTIES,
            created=now,
            expires=now + 600,
        )
    )


def measure(repetitions: int) -> Measurement:
    """Run all so many times, after one time that does not count."""
    with stack.stack():
        for key, value in VALUES.items():
            stack.pulumi("config", "set", f"e3:{key}", value)
        for path, value in OBJECTS.items():
            stack.pulumi("config", "set", "--path", f"e3:{path}", value)
        stack.pulumi("up", "--yes", "--skip-preview")
        once(Measurement())
        result = Measurement()
        for _ in range(repetitions):
            once(result)
    return result


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure what `e3 run` costs.")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    arguments = parser.parse_args(argv)
    if "PULUMI_CONFIG_PASSPHRASE_FILE" not in os.environ:
        raise SystemExit("run `. scripts/activate` first")
    load = os.getloadavg()[0]
    result = measure(arguments.repetitions)
    print(result)
    return {"command": asdict(result), "command_load_average": load}


if __name__ == "__main__":
    main()
