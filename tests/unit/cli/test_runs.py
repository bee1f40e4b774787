"""`e3 runs` and `e3 logs` over evidence of real sessions."""

import json
import os
from pathlib import Path

import pytest

from e3.session.results import SessionResult
from tests.commands import Command, private
from tests.sessions import Bench, joined


class Evidence:
    """A project whose stack ``trial`` has had two sessions: one completed, one failed."""

    def __init__(self, folder: Path) -> None:
        self.e3: Command = private(folder)
        stack = folder / ".e3" / "trial"
        stack.mkdir(parents=True)
        bench = Bench(stack)
        self.sessions = bench.sessions
        self.done: SessionResult = bench.run(joined(r"print(f'hello from {mpc.pid}\x1b[2J')"))
        failing = "import sys\nif '1' in sys.argv[-1:]: sys.exit('no money')\n"
        self.failed: SessionResult = bench.run(failing + joined("print(2)"), parties=2)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return Evidence(tmp_path_factory.mktemp("project"))


def test_runs_are_listed_the_newest_last(evidence: Evidence) -> None:
    listed = evidence.e3("runs")
    assert listed.returncode == 0, listed.stderr
    header, done, failed = listed.stdout.splitlines()
    assert header.split() == ["run", "stack", "program", "took", "verdict", "reason"]
    assert done.split()[:3] == [evidence.done.id, "trial", "program"]
    assert done.endswith("completed")
    assert failed.startswith(evidence.failed.id)
    assert f"party-failed  {evidence.failed.reason}" in failed


def test_runs_as_json(evidence: Evidence) -> None:
    done, failed = json.loads(evidence.e3("runs", "--stack", "trial", "--json").stdout)
    assert (done["id"], done["verdict"]) == (evidence.done.id, "completed")
    assert (failed["verdict"], failed["hosts"]) == ("party-failed", ["local-0", "local-1"])
    assert failed["wall_seconds"] == pytest.approx(evidence.failed.wall_seconds)


def test_a_stack_without_runs_is_an_error_that_names_those_with(evidence: Evidence) -> None:
    answer = evidence.e3("runs", "--stack", "nope")
    assert answer.returncode == 2
    assert "'nope'" in answer.stderr
    assert "stacks with runs: trial" in answer.stderr


def test_logs_name_the_host_of_each_line(evidence: Evidence) -> None:
    lines = evidence.e3("logs", evidence.done.id).stdout.splitlines()
    assert {line.partition(" | ")[0] for line in lines} == {"local-0", "local-1", "local-2"}
    assert "local-2 | hello from 2\x1b[2J" in lines


@pytest.mark.parametrize("cut", [slice(0, -1), slice(-4, None)])
def test_a_run_is_meant_by_a_part_of_its_name(evidence: Evidence, cut: slice) -> None:
    alone = evidence.e3("logs", evidence.done.id[cut], "local-1").stdout
    assert alone == (evidence.sessions / evidence.done.id / "local-1.log").read_text()


def test_latest_is_the_newest_run(evidence: Evidence) -> None:
    assert "no money" in evidence.e3("logs", "latest", "local-1").stdout


def test_to_follow_ends_with_the_run(evidence: Evidence) -> None:
    assert evidence.e3("logs", "latest", "--follow").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["logs", "2"], "'2' may be 2 runs"),
        (["logs", "1999"], "no run '1999'; `e3 runs` lists them"),
        (["logs", "latest", "mars-0"], "'mars-0'; choose one of local-0, local-1"),
    ],
)
def test_what_is_meant_by_nothing_is_an_error(
    evidence: Evidence, words: list[str], said: str
) -> None:
    answer = evidence.e3(*words)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert said in answer.stderr


def test_a_reader_that_leaves_is_no_error(evidence: Evidence) -> None:
    with evidence.e3.begin("logs", "latest") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0


FOUL = "[/tmp/x] [bold red]\x1b]0;owned\x07\nline \ud800"

RESULTS: list[object] = [
    {"verdict": "party-failed", "reason": FOUL, "wall_seconds": 1.5},
    {"verdict": FOUL, "reason": "x" * 100_000, "wall_seconds": None},
    {"verdict": 1, "reason": None, "wall_seconds": "1"},
    {"verdict": "completed", "wall_seconds": float("nan")},
    [],
    "[/]",
]
MANIFESTS: list[object] = [
    {"program": FOUL, "overlay": FOUL, "started": "2026-01-01T00:00:00+00:00"},
    {"program": 1, "args": 2, "parties": 3, "overlay": [], "started": 4},
    {"args": [FOUL, 1], "parties": [{"host": "../../x"}, {"host": 5}, "x", {}], "started": FOUL},
    {"started": "2026-01-01T00:00:00"},
    {},
    None,
]


def test_runs_of_any_content_are_listed(tmp_path: Path) -> None:
    e3 = private(tmp_path)
    sessions = tmp_path / ".e3" / "trial" / "sessions"
    names = [f"20260101-00000{i}-000{i}" for i in range(len(RESULTS))]
    for name, result, manifest in zip(names, RESULTS, MANIFESTS, strict=True):
        (sessions / name).mkdir(parents=True)
        (sessions / name / "result.json").write_text(json.dumps(result))
        (sessions / name / "manifest.json").write_text(json.dumps(manifest))
        (sessions / name / "a-0.log").write_bytes(b"\xff\x1b[2J\n")
    listed = e3("runs")
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == 1 + len(RESULTS)
    assert r"[/tmp/x] [bold red]\x1b]0;owned\x07\nline \ud800" in listed.stdout
    assert "\x1b" not in listed.stdout
    assert len(json.loads(e3("runs", "--json").stdout)) == len(RESULTS)
    for name in names[:3]:
        answer = e3("logs", name)
        assert (answer.returncode, answer.stderr) == (0, "")


def test_any_character_can_be_printed_whatever_the_streams_take(evidence: Evidence) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    e3 = Command(folder=evidence.e3.folder, environment=environment)
    log = evidence.sessions / evidence.done.id / "local-2.log"
    log.write_text(log.read_text() + "größe \u202e\n")
    answer = e3("logs", evidence.done.id, "local-2")
    assert answer.returncode == 0, answer.stderr
    assert r"gr\xf6\xdfe \u202e" in answer.stdout or "größe" in answer.stdout


def test_a_project_without_runs_says_so(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    answer = private(tmp_path)("runs", cwd=tmp_path / "docs")
    assert answer.stdout == "No runs yet; `pulumi up` and `e3 run PROGRAM` make one.\n"
