"""Runs all of the matrix where it is asked for by ``-m resilience``; and its table at the end."""

import pytest

from tests.stack import ROOT

HERE = ROOT / "tests" / "resilience"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless the tier itself was asked for."""
    if "resilience" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("long") is not None]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        (report.nodeid.partition("[")[2].rstrip("]"), dict(report.user_properties), report.outcome)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if dict(report.user_properties).keys() >= {"outcome", "seconds"}
    ]
    if rows:
        terminalreporter.section("resilience")
    for name, facts, outcome in sorted(rows):
        mark = "" if outcome == "passed" else f"  {outcome}"
        seconds = float(str(facts["seconds"]))
        terminalreporter.write_line(f"{name:<30} {facts['outcome']:<55} {seconds:5.1f} s{mark}")
        if outcome == "failed":
            terminalreporter.write_line(f"    {facts['notes']}")
