"""Measure E3 itself: `make bench`. Prints each figure and keeps all as JSON in bench/results."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    authority,
    command,
    discovery,
    lab,
    mediator,
    meeting,
    messages,
    overlays,
    report,
    session,
    stack,
    tunnel,
    tunnel_nats,
    tunnel_rounds,
)

RESULTS = Path(__file__).parent / "results"
TUNNELS = (tunnel, tunnel_nats, tunnel_rounds)
SESSIONS = (mediator, meeting, messages)


def main() -> None:
    """Run every benchmark, one after another."""
    began = datetime.now(UTC)
    results: dict[str, object] = {
        "time": began.isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    for part in (
        lab,
        overlays,
        discovery,
        session,
        command,
        stack,
        authority,
        report,
        *TUNNELS,
        *SESSIONS,
    ):
        print(f"\n== {part.__name__.rpartition('.')[2]}")
        results.update(part.main([]))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{began:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(results, indent=2))
    print(f"\nKept as {path.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
