"""The table of faults, at the end of a run that had any.

Case, verdict, seconds from the fault to the verdict, and how long it took to stop all parties
once the first had failed.
"""

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
        terminalreporter.write_line(f"{'case':<52} {'verdict':<13} after    all stopped after")
    for name, facts, outcome in sorted(rows):
        mark = "" if outcome == "passed" else f"  {outcome}"
        seconds, stop = (float(str(facts[key])) for key in ("seconds", "stop_seconds"))
        stopped = "" if facts["verdict"] == "completed" else f"{stop:12.2f} s"
        line = f"{name:<52} {facts['verdict']:<13} {seconds:5.1f} s {stopped}{mark}"
        terminalreporter.write_line(line)
