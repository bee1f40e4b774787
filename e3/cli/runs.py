"""``e3 runs``: list the runs of stacks, from their evidence."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from e3.cli import terminal
from e3.cli.place import Verbs
from e3.deployed import FILES
from e3.errors import E3Error
from e3.session.evidence import LATEST
from e3.session.runs import KEEP, RecordedRun, resolve
from e3.session.runs import runs as runs_of
from e3.session.verdicts import Verdict


@dataclass(frozen=True)
class StackRun:
    """A run and its stack."""

    stack: str
    run: RecordedRun


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "runs",
        help="list runs, the newest last",
        description=f"List runs, the newest last. Each stack keeps the newest {KEEP}.",
    )
    verb.add_argument("--stack", metavar="STACK", help="default: every stack")
    verb.add_argument("--json", action="store_true", help="one JSON array")
    verb.set_defaults(do=list_runs)


def list_runs(arguments: argparse.Namespace) -> int:
    """Print all runs."""
    listed = sorted(
        (
            StackRun(stack, run)
            for stack, folder in folders(arguments.stack)
            for run in runs_of(folder)
        ),
        key=lambda found: found.run.started,
    )
    if arguments.json:
        print(json.dumps([describe(found) for found in listed], indent=2))
        return 0
    if not listed:
        print("No runs yet; `pulumi up` and `e3 run PROGRAM` make one.")
        return 0
    rows = [
        (
            found.run.id,
            found.stack,
            Path(found.run.program).stem,
            "-" if found.run.seconds is None else f"{found.run.seconds:.1f} s",
            terminal.word(found.run.verdict),
            "" if found.run.verdict == Verdict.COMPLETED else found.run.reason,
        )
        for found in listed
    ]
    header = ("run", "stack", "program", "took", "verdict", "reason")
    terminal.show(rows, header=header)
    return 0


def folders(stack: str | None) -> list[tuple[str, Path]]:
    """Return stacks with their session folders; raises `E3Error` if ``stack`` has no runs."""
    known = {path.parent.name: path for path in sorted(FILES.glob("*/sessions"))}
    if stack is None:
        return list(known.items())
    if stack not in known:
        choices = ", ".join(known) or "none yet"
        raise E3Error(f"--stack: no runs of {stack!r} here; stacks with runs: {choices}")
    return [(stack, known[stack])]


def find(name: str, stack: str | None) -> RecordedRun:
    """Return the run that ``name`` means; raises `E3Error` if that is none, or several."""
    matching = [run for _, folder in folders(stack) for run in resolve(folder, name)]
    matching.sort(key=lambda run: run.started)
    if name == LATEST:
        matching = matching[-1:]
    if not matching:
        raise E3Error(f"no run {name!r}; `e3 runs` lists them")
    if len(matching) > 1:
        choices = ", ".join(run.id for run in matching[-3:])
        raise E3Error(f"{name!r} may be {len(matching)} runs, as {choices}; write more of the name")
    return matching[0]


def describe(found: StackRun) -> dict[str, object]:
    """Return a run as values of JSON."""
    run = found.run
    return {
        "id": run.id,
        "stack": found.stack,
        "program": run.program,
        "args": list(run.args),
        "overlay": run.overlay,
        "hosts": list(run.hosts),
        "started": run.started.isoformat(),
        "verdict": run.verdict,
        "reason": run.reason,
        "wall_seconds": run.seconds,
        "evidence": str(run.folder),
    }
