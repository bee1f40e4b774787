"""The table of what overlays survive, at the end of a run that tried any of it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

RECORD = os.environ.get("E3_RECOVERY", "")
"""The file to write the seconds of a run to, in the form of docs/recovery.yaml."""


def record(path: Path, rows: Sequence[tuple[str, Mapping[str, object], str]]) -> None:
    found: dict[str, dict[str, dict[str, object]]] = {}
    for name, facts, _ in rows:
        overlay, _, event = name.partition(": ")
        one: dict[str, object] = {"seconds": round(float(str(facts["seconds"])), 1)}
        if "after up" in str(facts["outcome"]):
            one["by"] = "up"
        found.setdefault(event, {})[overlay] = one
    path.write_text(yaml.safe_dump(found))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        (report.nodeid.partition("[")[2].rstrip("]"), dict(report.user_properties), report.outcome)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if dict(report.user_properties).keys() >= {"outcome", "seconds"}
    ]
    if rows:
        terminalreporter.section("resilience")
    if RECORD and rows:
        record(Path(RECORD), [row for row in rows if row[2] == "passed"])
    for name, facts, outcome in sorted(rows):
        mark = "" if outcome == "passed" else f"  {outcome}"
        seconds = float(str(facts["seconds"]))
        terminalreporter.write_line(f"{name:<30} {facts['outcome']:<55} {seconds:5.1f} s{mark}")
        if outcome == "failed":
            terminalreporter.write_line(f"    {facts['notes']}")
