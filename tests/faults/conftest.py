"""The table of faults: case, verdict, seconds, at the end of a run that had any."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        (report.nodeid.partition("[")[2].rstrip("]"), dict(report.user_properties), report.outcome)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if dict(report.user_properties).keys() >= {"verdict", "seconds"}
    ]
    if rows:
        terminalreporter.section("faults")
    for name, facts, outcome in sorted(rows):
        mark = "" if outcome == "passed" else f"  {outcome}"
        line = f"{name:<50} {facts['verdict']:<13} {float(str(facts['seconds'])):5.1f} s{mark}"
        terminalreporter.write_line(line)
