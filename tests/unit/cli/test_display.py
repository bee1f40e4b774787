"""What a user sees of a session."""

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from e3.cli.display import Display, Lines, Moving
from e3.remote.text import printable_lines
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from tests.sessions import Bench, joined


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def seen(bench: Bench, text: str, shown: Display) -> SessionResult:
    """Run a program while ``shown`` follows it."""

    async def main() -> SessionResult:
        follower = asyncio.create_task(shown.follow())
        try:
            return await run_session(
                SessionSpec(
                    plan=bench.plan(bench.write(text)),
                    hosts=bench.hosts,
                    overlay="plain",
                    sessions=bench.sessions,
                    deadline_seconds=60,
                    observer=shown,
                )
            )
        finally:
            follower.cancel()
            shown.refresh()

    result = asyncio.run(main())
    shown.conclude(result.to_properties())
    return result


def test_lines_tell_each_party_to_its_end(bench: Bench) -> None:
    out = io.StringIO()
    result = seen(bench, joined("print('same')"), Lines(Console(file=out, width=200)))
    lines = out.getvalue().splitlines()
    assert lines[0] == f"run {result.id}"
    for pid in range(3):
        mine = [line for line in lines if f"party {pid} (local-{pid}): " in line]
        assert mine[-1].endswith(": done")
    assert lines[-3:-1] == ["all 3 parties:", "  same"]
    assert lines[-1].startswith("completed: all 3 parties completed (")


def test_parties_that_print_the_same_stand_together(bench: Bench) -> None:
    out = io.StringIO()
    seen(bench, joined("print(mpc.pid // 2)"), Lines(Console(file=out, width=200)))
    said = out.getvalue()
    assert "parties 0 (local-0), 1 (local-1):\n  0\n" in said
    assert "party 2 (local-2):\n  1\n" in said


def test_a_failure_says_where_its_evidence_is(bench: Bench) -> None:
    out = io.StringIO()
    result = seen(bench, "raise SystemExit('no money')", Lines(Console(file=out, width=400)))
    assert f"party-failed: {result.reason}" in out.getvalue()
    assert out.getvalue().endswith(f"evidence: {result.evidence} (`e3 logs {result.id}`)\n")


def test_a_terminal_shows_one_line_a_party(bench: Bench) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    with Live(console=console, auto_refresh=False) as live:
        seen(bench, joined(r"print('fine \x1b[2J')"), Moving(live))
    said = out.getvalue()
    assert "pid  host     phase" in said
    assert r"fine \x1b[2J" in said
    assert "\x1b[2J" not in said


FOUL = r"""[/tmp/x] [bold red]hi[/] :smile: \x1b]0;owned\x07\x1b[2J\u202e"""
"""In the notation of a source: markup that rich cannot read, and control characters."""


@pytest.mark.parametrize("display", [Lines, Moving])
def test_an_error_is_no_markup_and_commands_no_terminal(
    bench: Bench, display: type[Lines | Moving]
) -> None:
    out = io.StringIO()
    console = Console(file=out, width=400, force_terminal=display is Moving, color_system=None)
    program = f"print('{FOUL}')\nraise ValueError('{FOUL}')"
    with Live(console=console, auto_refresh=False) as live:
        result = seen(bench, program, Moving(live) if display is Moving else Lines(console))
    said = out.getvalue()
    assert result.reason.endswith(f"exited with status 1: ValueError: {FOUL}")
    assert f"party-failed: {result.reason}" in said
    assert f"  {FOUL}\n" in said
    assert "\x07" not in said
    assert "\x1b[2J" not in said
    outputs = {party["output"] for party in result.to_properties()["parties"]}  # type: ignore[attr-defined]  # JSON
    assert outputs - {""} == {f"{FOUL}\n"}  # the first to fail may stop others before they print


def test_a_result_of_any_text_is_shown() -> None:
    out = io.StringIO()
    foul = "[/x] \x1b[2J"
    shown = Display(Console(file=out, width=400))
    shown.waiting(foul)
    party = {"pid": 0, "host": foul, "output": foul}
    texts = dict.fromkeys(("id", "verdict", "reason", "advice", "evidence"), foul)
    seconds = {"setup_seconds": 1.0, "online_seconds": 1.0, "wall_seconds": 2.0}
    shown.conclude({**texts, **seconds, "notes": [foul], "parties": [party]})
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().count(r"[/x] \x1b[2J") == 9


def test_text_of_parties_cannot_command_a_terminal() -> None:
    assert printable_lines("größe\tok\n") == "größe\tok\n"
    assert printable_lines("\x1b]0;owned\x07") == r"\x1b]0;owned\x07"
