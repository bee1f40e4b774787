"""What a stack costs beyond its computation: from `pulumi up` to the result, and back.

Brings up the default experiment (six hosts in four regions, Nebula, secret santa) as a stack of
its own, brings it up again without a change, and destroys it. Times are of the command as a
person sees them; of an `up`, the session's online time is given apart, because its rounds pay the
emulated latency.

    python -m bench.stack --repetitions 3
"""

import argparse
import math
import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from e3 import pulumi_state

STACK = "bench"
LIMITS = {"up_seconds": 12.0, "again_seconds": 6.0, "down_seconds": 6.0}
"""Targets on two cores; ``up_seconds`` is without the session's online time."""


@dataclass
class Measurement:
    """Seconds of each repetition. The parts of an `up` are its own, and add up to about it."""

    up_seconds: list[float] = field(default_factory=list)
    again_seconds: list[float] = field(default_factory=list)
    down_seconds: list[float] = field(default_factory=list)
    parts_seconds: dict[str, list[float]] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the medians, each with its target, and where the time of an `up` goes."""
        lines = [
            f"{name.removesuffix('_seconds'):8} {statistics.median(getattr(self, name)):6.2f} s"
            f"  (at most {limit:g})"
            for name, limit in LIMITS.items()
        ]
        lines += [
            f"  of up: {name:18} {statistics.median(values):6.2f} s"
            for name, values in self.parts_seconds.items()
        ]
        return "\n".join(lines)


def pulumi(*arguments: str) -> str:
    """Run the Pulumi CLI in this shell's environment and return what it printed."""
    done = subprocess.run(
        ["pulumi", *arguments, "--stack", STACK],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,  # its output says what went wrong
    )
    if done.returncode:
        raise SystemExit(f"pulumi {' '.join(arguments)}: {done.stdout}\n{done.stderr}")
    return done.stdout


def timed(*arguments: str) -> float:
    """Return how long a Pulumi command takes, in seconds."""
    began = time.monotonic()
    pulumi(*arguments)
    return time.monotonic() - began


@contextmanager
def stack() -> Iterator[None]:
    """Create a stack of our own, and remove it afterwards."""
    path = Path(f"Pulumi.{STACK}.yaml")
    subprocess.run(
        ["pulumi", "stack", "init", STACK, "--no-select"], check=True, capture_output=True
    )
    try:
        yield
    finally:
        pulumi("destroy", "--yes", "--skip-preview")
        subprocess.run(["pulumi", "stack", "rm", STACK, "--yes"], check=True, capture_output=True)
        path.unlink(missing_ok=True)


def parts(up_seconds: float) -> dict[str, float]:
    """Return where the time of the last `up` went, in seconds, from the state it left."""
    resources = pulumi_state.decode_export(pulumi("stack", "export"))
    by_name = {resource.urn.rpartition("::")[2]: resource for resource in resources}

    def outputs(name: str) -> Mapping[str, Any]:
        return by_name[name].outputs or {}

    session = outputs("secret_santa")["result"]
    online = session["online_seconds"]

    def made(name: str) -> float:
        created = by_name[name].created
        return created.timestamp() if created else math.nan

    hosts = [made(name) for name, r in by_name.items() if r.type == f"{pulumi_state.OURS}Host"]
    lab = max(hosts) - made("lab")
    joined = max(made("round-trips"), made("nebula")) - max(hosts)
    session_setup = session["wall_seconds"] - online
    engine = up_seconds - lab - joined - session["wall_seconds"]
    return {
        "engine": engine,
        "regions, hosts": lab,
        "joining, measuring": joined,
        "session set-up": session_setup,
        "session online": online,
    }


def measure(repetitions: int) -> Measurement:
    """Bring the stack up, up again and down so many times."""
    result = Measurement()
    with stack():
        for _ in range(repetitions):
            up = timed("up", "--yes", "--skip-preview")
            of_up = parts(up)
            result.up_seconds.append(up - of_up["session online"])
            for name, seconds in of_up.items():
                result.parts_seconds.setdefault(name, []).append(round(seconds, 3))
            result.again_seconds.append(timed("up", "--yes", "--skip-preview"))
            result.down_seconds.append(timed("destroy", "--yes", "--skip-preview"))
    return result


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure what a stack costs.")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N")
    if "PULUMI_CONFIG_PASSPHRASE_FILE" not in os.environ:
        raise SystemExit("run `. scripts/activate` first")
    result = measure(parser.parse_args(argv).repetitions)
    print(result)
    return {"stack": asdict(result)}


if __name__ == "__main__":
    main()
