"""The table of what overlays survive, at the end of a run that tried any of it."""

import pytest


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
