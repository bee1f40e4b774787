"""`e3 run` on a stack that is up: verdicts, queue, Ctrl-C, and a doctor for what is broken."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from e3 import outputs
from e3.access import host_from_properties
from e3.access.identity import identify
from e3.access.namespace import NamespaceAccess
from e3.lab import client
from e3.session.runs import runs
from tests.commands import Command
from tests.schemas import conforming
from tests.sessions import joined
from tests.stack import Stack, project, until

SLOW = joined("""
    import time
    for i in range(int(__import__('sys').argv[-1])):
        print('round', i, flush=True)
        time.sleep(0.5)
""")
"""A program that computes for as many half seconds as its argument says."""

CLOCK_SECONDS = 0.01
"""The kernel's clock that dates files may be that late."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of three hosts that is up."""
    with project(tmp_path_factory.mktemp("project")) as stack:
        stack.write(SLOW, "slow.py")
        stack.brought_up(overlay="plain", program="demos/helloworld.py")
        yield stack


@pytest.fixture
def e3(up: Stack) -> Command:
    return Command(folder=up.folder, environment=up.environment)


def said(process: subprocess.Popen[str], seconds: float = 60.0) -> tuple[str, str]:
    """Return what a command wrote until its end."""
    with process:
        return process.communicate(timeout=seconds)


def is_running(up: Stack) -> bool:
    """Whether the parties of the run that began last have printed something."""
    logs = (up.sessions / "latest").glob("*.log")
    return sum("round" in log.read_text() for log in logs) == 3


def accesses(up: Stack) -> list[NamespaceAccess]:
    """Return the accesses to all hosts."""
    hosts = [h for kind, h in up.resources.items() if kind.startswith("e3:Host ")]
    found = [host_from_properties(host["outputs"]["made"]).access for host in hosts]
    return [access for access in found if isinstance(access, NamespaceAccess)]


def on(access: NamespaceAccess, script: str) -> str:
    """Return what a shell script prints on a host."""
    argv = [*access.nsenter(), "sh", "-c", script]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def left_on_hosts(up: Stack) -> list[str]:
    """Return the processes of Python on all hosts."""
    listed = (on(access, "ps -eo args") for access in accesses(up))
    return [line for lines in listed for line in lines.splitlines() if "python" in line]


def about(e3: Command, stack: str, *options: str) -> list[Mapping[str, Any]]:
    """Return what the doctor finds about a stack."""
    report = json.loads(e3("doctor", "--json", *options).stdout)
    return [found for found in report["findings"] if found["subject"] == f"stack {stack}"]


def test_a_program_runs_from_any_folder_and_its_result_is_shown(up: Stack, e3: Command) -> None:
    answer = e3(
        "run", "auction.py", "--stack", "trial", "--", "--bids", "5", cwd=up.folder / "demos"
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("demos/auction.py on stack trial: 3 parties over plain\n")
    for host in ("ams3-0", "ams3-1", "sgp1-0"):
        assert f"({host}): done\n" in answer.stdout
    assert "all 3 parties:\n  bidder " in answer.stdout
    assert "\ncompleted: all 3 parties completed (" in answer.stdout


PANDAS = """
    import os; os.environ["MPYC_NONUMPY"] = "1"
    from mpyc.runtime import mpc
    import pandas as pd

    async def main():
        table = pd.DataFrame({"age": [31, 47, 58], "group": ["a", "b", "a"]})
        mine = int(table.groupby("group")["age"].sum()["a"])
        async with mpc:
            print(await mpc.output(mpc.sum(mpc.input(mpc.SecInt()(mine)))))

    mpc.run(main())
"""


@pytest.mark.long
def test_a_program_with_pandas_has_it_on_all_hosts(up: Stack, e3: Command) -> None:
    (up.folder / "survey").mkdir()
    up.write(dedent(PANDAS), "survey/main.py")
    (up.folder / "survey" / "requirements.txt").write_text("# of the survey\npandas>=2\n")
    answer = e3("run", "survey", "--stack", "trial")
    if "does not answer" in answer.stderr:
        pytest.skip(f"no index of Python packages: {answer.stderr[-300:]}")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "finding the packages that survey/requirements.txt asks for\n" in answer.stdout
    assert "all 3 parties:\n  267\n" in answer.stdout
    # the second time it is there, once for all hosts
    again = e3("run", "survey", "--stack", "trial")
    assert again.returncode == 0, again.stderr
    assert "packages" not in again.stdout
    assert len([*(up.folder / ".tools" / "packages").glob("layer-*")]) == 1
    report = json.loads(e3("doctor", "--json").stdout)
    assert [x["level"] for x in report["findings"] if x["subject"] == "packages"] == ["OK"]


def test_json_is_the_stack_output_of_such_a_session(up: Stack, e3: Command) -> None:
    answer = e3("run", "demos/helloworld.py", "--stack", "trial", "--json")
    result, output = conforming("run", answer.stdout), up.outputs["session"]
    assert set(result) == set(output)
    assert outputs.session(result)["paths"] == output["paths"]
    assert result["id"] != output["id"]
    for key in ("digest", "overlay", "program", "verdict"):
        assert result[key] == output[key]
    assert answer.stderr == ""
    assert [run.id for run in runs(up.sessions)][-1] == result["id"]


def test_what_needs_a_stack_prints_what_its_schema_says(
    up: Stack, e3: Command, tmp_path: Path
) -> None:
    (tmp_path / "bid").write_text("3")
    kept = up.write(
        joined("import os; open(os.environ['E3_OUTPUT'] + '/kept', 'w').write('x')"), "kept.py"
    )
    on = ("--stack", "trial")
    shown = conforming("show", e3("show", *on, "--json").stdout)
    assert len(shown["hosts"]) == 3
    put = conforming("input put", e3("input", "put", "ams3-0", str(tmp_path), *on, "--json").stdout)
    name = put["inputs"][0]["name"]
    listed = conforming("input list", e3("input", "list", *on, "--json").stdout)
    assert [each["name"] for each in listed] == [name]
    gone = e3("input", "remove", "ams3-0", name, "other", *on, "--json")
    assert conforming("input remove", gone.stdout)["missing"] == ["other"]
    assert e3("run", kept, *on, "--json").returncode == 0
    files = conforming("output list", e3("output", "list", "latest", *on, "--json").stdout)
    assert {each["name"] for each in files} == {"kept"}
    got = e3("output", "get", "latest", *on, "--json", "--to", str(tmp_path / "got"))
    assert sum(conforming("output get", got.stdout)["files"].values()) == 3
    removed = e3("output", "remove", "latest", *on, "--json")
    assert len(conforming("output remove", removed.stdout)["hosts"]) == 3
    lines = e3("logs", "latest", *on, "--json").stdout.splitlines()
    assert {conforming("logs", line)["host"] for line in lines} <= {"ams3-0", "ams3-1", "sgp1-0"}
    assert conforming("runs", e3("runs", *on, "--json").stdout)[-1]["verdict"] == "completed"


def test_paths_tell_how_long_the_first_contact_took(up: Stack, e3: Command) -> None:
    assert up.outputs["session"]["verdict"] == "completed"
    paths = conforming("paths", e3("paths", "--stack", "trial", "--json").stdout)["paths"]
    assert len(paths) == 6
    assert {path["class"] for path in paths} == {"direct"}
    assert all(0 < path["contact_seconds"] < path["direct_seconds"] for path in paths)
    assert "direct s" in e3("paths", "--stack", "trial").stdout


def test_the_exit_status_tells_the_verdict(up: Stack, e3: Command) -> None:
    up.write("import sys; sys.exit('no money')", "bad.py")
    answer = e3("run", "bad.py", "--stack", "trial", "--parties", "2")
    assert answer.returncode == 12
    assert "party-failed: party " in answer.stdout
    slow = e3("run", "slow.py", "--stack", "trial", "--deadline", "2", "--", "60")
    assert slow.returncode == 13
    assert "timed-out: not done after 2 s" in slow.stdout


ASK = """
from mpyc.runtime import mpc

bid = int(input("your bid: ")) if mpc.pid == 0 else 5
mpc.run(mpc.start())
print(mpc.run(mpc.output(mpc.max(mpc.input(mpc.SecInt(32)(bid))))))
mpc.run(mpc.shutdown())
"""
TABLE = "region,income\n" + "north,100\nsouth,50\n" * 2


def test_files_of_parties_from_the_command_line(up: Stack, e3: Command) -> None:
    (up.folder / "survey.csv").write_text(TABLE)
    for host in ("ams3-0", "ams3-1"):
        answer = e3("input", "put", host, "survey.csv", "--stack", "trial")
        assert answer.stdout == f"survey.csv ({len(TABLE)} bytes) is on {host}\n", answer
    answer = e3("run", "demos/survey.py", "--stack", "trial")
    assert "sgp1-0 has the inputs none, the other two survey.csv" in answer.stdout
    assert answer.returncode == 10
    e3("input", "put", "sgp1-0", "survey.csv", "--stack", "trial")
    listed = json.loads(e3("input", "list", "--stack", "trial", "--json").stdout)
    assert [(each["host"], each["name"], each["size"]) for each in listed] == [
        (host, "survey.csv", len(TABLE)) for host in ("ams3-0", "ams3-1", "sgp1-0")
    ]
    answer = e3("run", "demos/survey.py", "--stack", "trial", "--outputs", "private")
    assert "north: 6 rows, mean 100.0, standard deviation 0.0\n" in answer.stdout, answer
    assert not (up.sessions / "latest" / "output").exists()
    answer = e3("output", "get", "latest", "sgp1-0", "--stack", "trial", "--to", "got")
    assert answer.stdout == f"1 file in {up.folder / 'got'}\n", answer
    assert "north: 6 rows" in (up.folder / "got/sgp1-0/statistics.txt").read_text()
    assert "ams3-0 keeps 1 file (" in e3("output", "list", "latest").stdout
    up.write("import os; print(sorted(os.listdir(os.environ['E3_INPUT'])))", "look.py")
    answer = e3("run", "look.py", "--stack", "trial", "--input-from", "latest")
    assert "['statistics.txt', 'survey.csv']" in answer.stdout, answer
    for host in ("ams3-0", "ams3-1", "sgp1-0"):
        assert e3("input", "remove", host, "--all", "--stack", "trial").returncode == 0
    assert e3("input", "list", "--stack", "trial").stdout.startswith("No inputs; ")
    assert e3("input", "remove", "sgp1-0", "survey.csv", "--stack", "trial").returncode == 1


def test_a_party_reads_what_is_typed(up: Stack, e3: Command) -> None:
    up.write(ASK, "ask.py")
    answer = e3("run", "ask.py", "--stack", "trial", "--stdin", typed="7\n")
    assert "your bid: " in answer.stdout, answer
    assert "7\n" in answer.stdout
    assert answer.stdout.splitlines()[-1].startswith("completed: all 3 parties completed")
    answer = e3("run", "ask.py", "--stack", "trial")
    assert "this party has no standard input; give it an input named stdin" in answer.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_end_by_signal_stops_all_parties(up: Stack, e3: Command, number: int) -> None:
    before = len(runs(up.sessions))
    process = e3.begin("run", "slow.py", "--stack", "trial", "--json", "--", "60")
    until(lambda: len(runs(up.sessions)) > before and is_running(up), "the parties run")
    os.killpg(process.pid, number)
    out, _ = said(process)
    assert process.returncode == 130
    assert json.loads(out)["verdict"] == "cancelled"
    assert left_on_hosts(up) == []
    assert runs(up.sessions)[-1].verdict == "cancelled"


def test_runs_of_a_stack_queue_also_with_the_engine(up: Stack, e3: Command) -> None:
    before = len(runs(up.sessions))
    first = e3.begin("run", "slow.py", "--stack", "trial", "--", "200")
    until(lambda: len(runs(up.sessions)) > before and is_running(up), "the first one runs")
    ahead = runs(up.sessions)[-1]
    assert (ahead.verdict, ahead.running) == ("running", True)
    assert "running" in e3("runs").stdout.splitlines()[-1]
    second = e3.begin("run", "demos/helloworld.py", "--stack", "trial")
    up.configure(
        {"e3:overlay": "plain", "e3:program": "demos/helloworld.py", "e3:trigger": "again"}
    )
    engine = up.begin("up", "--yes", "--skip-preview")
    try:
        told = f"waiting for run {ahead.id} to end"
        until(lambda: told in up.log.read_text(), up.log.read_text)
        assert first.poll() is None
    finally:
        os.killpg(first.pid, signal.SIGINT)
        ended = up.end(engine)
    assert ended.exit == 0, ended.said
    assert f"waiting for run {ahead.id} to end" in said(second)[0]
    said(first)
    assert (first.returncode, second.returncode) == (130, 0)
    three = runs(up.sessions)[before:]
    assert [run.verdict for run in three] == ["cancelled", "completed", "completed"]
    for one, other in pairwise(three):
        ended_at = (one.folder / "result.json").stat().st_mtime
        assert other.started.timestamp() >= ended_at - CLOCK_SECONDS


def test_a_wait_ends_with_ctrl_c(up: Stack, e3: Command) -> None:
    before = len(runs(up.sessions))
    first = e3.begin("run", "slow.py", "--stack", "trial", "--", "200")
    until(lambda: len(runs(up.sessions)) > before and is_running(up), "the first one runs")
    second = e3.begin("run", "demos/helloworld.py", "--stack", "trial")
    assert second.stdout is not None
    until(lambda: "waiting" in second.stdout.readline(), "the second one waits")  # type: ignore[union-attr]
    os.killpg(second.pid, signal.SIGINT)
    assert said(second)[1] == "e3: cancelled before it began\n"
    assert second.returncode == 130
    os.killpg(first.pid, signal.SIGINT)
    said(first)
    assert len(runs(up.sessions)) == before + 1


def test_ctrl_c_before_all_hosts_have_answered_is_told(up: Stack, e3: Command) -> None:
    before, host = len(runs(up.sessions)), accesses(up)[0]
    silent = "printf '#!/bin/sh\\ntouch /run/asked\\nexec sleep 600\\n' > /run/silent"
    on(host, f"{silent}; chmod +x /run/silent; mount --bind /run/silent /bin/true")
    try:
        asked = e3.begin("run", "demos/helloworld.py", "--stack", "trial")
        until(lambda: on(host, "ls /run").split().count("asked") == 1, "the host is asked")
        os.killpg(asked.pid, signal.SIGINT)
        assert said(asked) == ("", "e3: cancelled before it began\n")
        assert asked.returncode == 130
    finally:
        on(host, "umount /bin/true; rm /run/silent /run/asked")
    assert len(runs(up.sessions)) == before
    gone = "pgrep -f 'sleep [6]00' || echo none"
    until(lambda: on(host, gone) == "none\n", "the command on the host has ended")


def test_the_death_of_the_command_leaves_no_party(up: Stack, e3: Command) -> None:
    before = len(runs(up.sessions))
    process = e3.begin("run", "slow.py", "--stack", "trial", "--", "60")
    until(lambda: len(runs(up.sessions)) > before and is_running(up), "the parties run")
    process.kill()
    said(process)
    until(lambda: left_on_hosts(up) == [], "no party is left")
    assert runs(up.sessions)[-1].verdict == "interrupted"
    assert e3("run", "demos/helloworld.py", "--stack", "trial").returncode == 0


def test_a_stack_that_is_not_up_is_an_error_with_its_remedy(up: Stack, e3: Command) -> None:
    assert replace(up, name="empty").pulumi("stack init").exit == 0
    for name, reason in (
        ("empty", "stack empty is not up: it has no joined hosts; run `pulumi up --stack empty`"),
        ("nope", "no stack named 'nope' found; `pulumi stack ls` lists the stacks"),
    ):
        answer = e3("run", "demos/helloworld.py", "--stack", name)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert reason in answer.stderr


def test_doctor_says_that_all_hosts_answer(e3: Command) -> None:
    (found,) = about(e3, "trial")
    assert (found["level"], found["detail"]) == ("OK", "all 3 hosts answer")


def test_doctor_finds_old_sessions_and_full_disks(up: Stack, e3: Command) -> None:
    host = accesses(up)[0]
    made = "mkdir -p /run/e3/sessions/old/program && touch -d '1 hour ago' /run/e3/sessions/old"
    on(host, f"{made}; head -c 4G /dev/zero > /run/fill || true")
    try:
        found = about(e3, "trial")
        assert [finding["level"] for finding in found] == ["OK", "WARN", "FAIL"]
        assert "still has the folders of 1 session in /run/e3/sessions" in found[1]["detail"]
        assert f"the disk of {host.host} is full: 0 MB" in found[2]["detail"]
        assert "removed: " in about(e3, "trial", "--fix")[0]["detail"]
    finally:
        on(host, "rm -f /run/fill")
    assert [finding["level"] for finding in about(e3, "trial")] == ["OK"]
    assert on(host, "ls /run/e3/sessions") == ""


def test_doctor_ends_a_lab_that_no_state_knows_and_nothing_else(
    up: Stack, e3: Command, tmp_path: Path
) -> None:
    script = (
        "import pathlib, sys; from e3.lab.client import start; start(pathlib.Path(sys.argv[1]))"
    )
    elsewhere, lost = tmp_path / "lab", up.folder / ".e3" / "lost" / "lab"
    for folder in (elsewhere, lost):
        argv = [str(up.folder / ".venv/bin/python"), "-c", script, str(folder)]
        subprocess.run(argv, cwd=up.folder, check=True, timeout=600)
    reader = subprocess.Popen(["tail", "-f", lost / "lab.log"])
    try:
        (found,) = about(e3, "lost", "--state")
        assert (found["level"], found["fixable"]) == ("WARN", True)
        about(e3, "lost", "--state", "--fix")
        assert about(e3, "lost", "--state") == []
        assert not client.Lab(lost).alive()
        assert client.Lab(elsewhere).alive()
        assert up.lab.alive()
        assert reader.poll() is None
    finally:
        reader.kill()
        reader.wait()
        client.stop(elsewhere)
        client.stop(lost)


def test_dead_hosts_are_named_with_their_remedy(up: Stack, e3: Command) -> None:
    access = up.resources["e3:Host ams3-1"]["outputs"]["made"]["access"]
    os.kill(int(access["pid"]), signal.SIGKILL)
    until(lambda: identify(int(access["pid"])) is None, "the host is dead")
    answer = e3("run", "demos/helloworld.py", "--stack", "trial")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "1 of 3 hosts cannot be used (ams3-1 is gone)" in answer.stderr
    assert "`pulumi refresh --stack trial`, then `pulumi up --stack trial`" in answer.stderr
    (found,) = about(e3, "trial")
    assert found["level"] == "FAIL"
    assert "ams3-1 is gone" in found["detail"]


def test_a_killed_lab_is_named_and_removed_once_its_stack_is_gone(up: Stack, e3: Command) -> None:
    pid = up.lab.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: identify(pid) is None, "the lab is dead")
    (found,) = about(e3, "trial", "--fix")
    assert (found["level"], found["fixable"]) == ("FAIL", False)
    assert found["detail"] == "its lab died, and all hosts with it"
    assert up.pulumi("stack rm", "--force", "--yes", "--remove-backups").exit == 0
    (found,) = about(e3, "trial")
    assert (found["level"], found["fixable"]) == ("WARN", True)
    assert e3("verify-gone", "trial").returncode == 1
    (found,) = about(e3, "trial", "--fix")
    assert (found["level"], found["detail"][:8]) == ("OK", "removed:")
    assert e3("verify-gone", "trial").returncode == 0
