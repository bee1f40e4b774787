"""`e3 doctor` in projects without a lab; with labs: tests/lab/test_doctor.py."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Command, private

LOCKS = ".e3/state/.pulumi/locks/organization/e3"


@pytest.fixture
def e3(tmp_path: Path) -> Command:
    return private(tmp_path)


def findings(e3: Command, *options: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = json.loads(e3("doctor", "--json", *options).stdout)["findings"]
    return found


def about(found: list[Mapping[str, Any]], subject: str) -> list[Mapping[str, Any]]:
    return [finding for finding in found if finding["subject"] == subject]


def lock(e3: Command, stack: str, **changes: object) -> Path:
    """Write the lock of an update as Pulumi does."""
    path = e3.folder / LOCKS / stack / "0d3f.json"
    path.parent.mkdir(parents=True)
    content = {
        "pid": os.getpid(),
        "username": "root",
        "hostname": socket.gethostname(),
        "timestamp": "2999-11-21T02:31:17.098561336Z",
    }
    path.write_text(json.dumps({**content, **changes}))
    (e3.folder / ".e3" / stack).mkdir()
    return path


def test_each_finding_is_one_line_and_a_failure_is_the_exit_status(e3: Command) -> None:
    bare = Command(folder=e3.folder, environment={"PATH": "/usr/bin:/bin"})
    answer = bare("doctor")
    assert answer.returncode == 1, answer.stderr
    lines = answer.stdout.splitlines()
    assert {line.split()[0] for line in lines} <= {"OK", "WARN", "FAIL"}
    assert any(
        line.startswith("FAIL  pulumi ") and line.endswith("`. scripts/activate` first")
        for line in lines
    )
    assert any(line.startswith("OK    leftovers ") for line in lines)


def test_versions_are_shown(e3: Command) -> None:
    (python,) = about(findings(e3), "python")
    assert python["level"] == "OK"
    assert python["detail"].startswith(".".join(map(str, sys.version_info[:3])))
    (ip,) = about(findings(e3), "ip")
    assert ip["detail"].endswith("/ip)")


def test_a_lock_whose_process_is_gone_is_removed(e3: Command) -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    path = lock(e3, "trial", pid=process.pid)
    (stale,) = about(findings(e3), "stack trial")
    assert (stale["level"], stale["fixable"]) == ("FAIL", True)
    assert "pulumi cancel --stack trial" in stale["remedy"]
    assert path.exists()
    (fixed,) = about(findings(e3, "--fix"), "stack trial")
    assert fixed["level"] == "OK"
    assert fixed["detail"].startswith("removed: locked by")
    assert not path.exists()


def test_a_number_that_is_another_process_by_now_holds_no_lock(e3: Command) -> None:
    path = lock(e3, "trial", timestamp="2001-01-01T00:00:00.000000001Z")
    findings(e3, "--fix")
    assert not path.exists()


@pytest.mark.parametrize("machine", [socket.gethostname(), "elsewhere"])
def test_a_lock_that_may_be_held_stays(e3: Command, machine: str) -> None:
    pid = os.getpid() if machine != "elsewhere" else 2**22 + 1
    path = lock(e3, "trial", hostname=machine, pid=pid)
    (held,) = about(findings(e3, "--fix"), "stack trial")
    assert (held["level"], held["fixable"]) == ("OK", False)
    assert path.exists()


def test_files_of_a_killed_lab_are_removed_and_its_log_stays(e3: Command) -> None:
    lab = e3.folder / ".e3" / "trial" / "lab"
    (lab / "ssh").mkdir(parents=True)
    for name in ("lab.pid", "hosts", "resolv.conf", "lab.log"):
        (lab / name).write_text("")
    (left,) = about(findings(e3), "stack trial")
    assert left["level"] == "WARN"
    assert "lab.pid" in left["detail"]
    findings(e3, "--fix")
    assert [path.name for path in lab.iterdir()] == ["lab.log"]
    assert about(findings(e3), "leftovers")[0]["level"] == "OK"


def test_unknown_words_are_refused(e3: Command) -> None:
    answer = e3("run", "program.py", "--bids", "3")
    assert answer.returncode == 2
    assert "options of the program stand after --" in answer.stderr
