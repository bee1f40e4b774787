"""`e3 doctor` in projects without a lab; with labs: tests/lab/test_doctor.py."""

import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Command, private

LOCKS = ".e3/state/.pulumi/locks/organization/e3"


@pytest.fixture
def e3(tmp_path: Path) -> Command:
    return private(tmp_path)


def findings(e3: Command, *options: str) -> list[Mapping[str, Any]]:
    """Return what is wrong with labs and states; all else would take as long again."""
    return everything(e3, "--state", *options)


def everything(e3: Command, *options: str) -> list[Mapping[str, Any]]:
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
    found = everything(e3)
    (python,) = about(found, "python")
    assert python["level"] == "OK"
    assert python["detail"].startswith(".".join(map(str, sys.version_info[:3])))
    (ip,) = about(found, "ip")
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
    (held,) = about(everything(e3, "--fix"), "stack trial")
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
    assert about(everything(e3), "leftovers")[0]["level"] == "OK"


def test_unknown_words_are_refused(e3: Command) -> None:
    answer = e3("run", "program.py", "--bids", "3")
    assert answer.returncode == 2
    assert "options of the program stand after --" in answer.stderr


STATE = ".e3/state/.pulumi"


def checkpoint(e3: Command, stack: str, *, lab: str = "") -> Path:
    """Write a state as Pulumi does, with its backups."""
    resources = [{"urn": f"urn:pulumi:{stack}::e3::pulumi:pulumi:Stack::e3-{stack}", "type": "x"}]
    if lab:
        kind = "pulumi-python:dynamic/e3:Lab"
        outputs = {"folder": f".e3/{stack}/lab"}
        resources.append({"urn": "u", "type": kind, "id": lab, "outputs": outputs})  # type: ignore[dict-item] # JSON
    whole = json.dumps({"version": 3, "checkpoint": {"latest": {"resources": resources}}})
    path = e3.folder / STATE / f"stacks/e3/{stack}.json"
    kept = e3.folder / STATE / f"backups/e3/{stack}/{stack}.1795732242117273272.json"
    for place in (path, kept):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(whole)
    (e3.folder / ".e3/passphrase").write_text("x")
    return path


def test_a_lock_that_names_nobody_is_removed(e3: Command) -> None:
    names = ["0d3f.json", "0d3f.json.18ebb900794bdda6.tmp"]
    locks = {}
    for number, (name, content) in enumerate(product(names, ["", "null", '{"pid": "x"}'])):
        stack = f"trial{number}"
        checkpoint(e3, stack)
        path = lock(e3, stack)
        locks[stack] = path.rename(path.with_name(name))
        locks[stack].write_text(content)
    found, fixed = findings(e3), findings(e3, "--fix")
    for stack, path in locks.items():
        (stale,) = about(found, f"stack {stack}")
        assert (stale["level"], stale["fixable"]) == ("FAIL", True)
        assert path.name in stale["detail"]
        (mended,) = about(fixed, f"stack {stack}")
        assert mended["level"] == "OK"
        assert not path.exists()


def test_a_lock_that_names_nobody_stays_while_an_engine_runs(e3: Command) -> None:
    path = lock(e3, "trial")
    path.write_text("")
    (e3.folder / "pulumi").symlink_to("/bin/sleep")
    with subprocess.Popen([e3.folder / "pulumi", "60"], cwd=e3.folder) as engine:
        try:
            (held,) = about(everything(e3, "--fix"), "stack trial")
        finally:
            engine.kill()
    assert (held["level"], held["fixable"]) == ("OK", False)
    assert path.exists()
    findings(e3, "--fix")
    assert not path.exists()


BROKEN = ["", "{", "null", "{}", "\0" * 100, '{"checkpoint": {"latest": {"resources": [{}]}}}']


def test_states_that_are_not_whole_are_named_and_restored(e3: Command) -> None:
    stacks = {f"trial{number}": content for number, content in enumerate(BROKEN)}
    wholes, backups = {}, {}
    for stack, content in stacks.items():
        path = checkpoint(e3, stack)
        wholes[path] = path.read_text()
        backups[stack] = next((e3.folder / STATE / "backups/e3" / stack).iterdir())
        # the newest of the backups is not whole either
        backups[stack].with_name(f"{stack}.1795732242117273999.json").write_text(content)
        path.write_text(content)
    found = findings(e3)
    for path, (stack, content) in zip(wholes, stacks.items(), strict=True):
        (broken,) = about(found, f"stack {stack}")
        assert (broken["level"], broken["fixable"]) == ("FAIL", True)
        assert f"{STATE}/stacks/e3/{stack}.json is" in broken["detail"]
        assert (
            f"its backup {STATE}/backups/e3/{stack}/{backups[stack].name} is of"
            in (broken["detail"])
        )
        assert f"pulumi refresh --stack {stack}" in broken["remedy"]
        assert path.read_text() == content
    fixed = findings(e3, "--fix")
    for (path, whole), (stack, content) in zip(wholes.items(), stacks.items(), strict=True):
        (mended,) = about(fixed, f"stack {stack}")
        assert mended["detail"].startswith("restored the backup")
        assert path.read_text() == whole
        (aside,) = path.parent.glob(f"{stack}.json.unreadable-*")
        assert aside.read_text() == content
    assert about(everything(e3), "state")[0]["level"] == "OK"


def test_without_a_backup_nothing_is_done(e3: Command) -> None:
    path = checkpoint(e3, "trial")
    next((e3.folder / STATE / "backups/e3/trial").iterdir()).unlink()
    path.write_text("")
    (found,) = about(findings(e3, "--fix"), "stack trial")
    assert (found["level"], found["fixable"]) == ("FAIL", False)
    assert "no backup" in found["detail"]
    assert path.read_text() == ""


def test_the_stores_own_file_is_written_again(e3: Command) -> None:
    checkpoint(e3, "trial")
    meta = e3.folder / STATE / "meta.yaml"
    meta.write_text("")
    assert any("meta.yaml is empty" in found["detail"] for found in findings(e3))
    findings(e3, "--fix")
    assert meta.read_text() == "version: 1\n"


def test_a_passphrase_that_went_is_named_with_what_it_opens(e3: Command) -> None:
    checkpoint(e3, "trial")
    (e3.folder / ".e3/passphrase").write_text("")
    (found,) = (one for one in findings(e3) if "passphrase" in one["detail"])
    assert found["level"] == "FAIL"
    assert "secrets of trial" in found["remedy"]


def test_files_that_others_may_read_are_closed(e3: Command) -> None:
    checkpoint(e3, "trial").chmod(0o644)
    (found,) = about(findings(e3), "state")
    assert (found["level"], found["fixable"]) == ("WARN", True)
    findings(e3, "--fix")
    modes = {path.stat().st_mode & 0o077 for path in (e3.folder / ".e3").rglob("*")}
    assert modes == {0}


def test_a_state_that_is_whole_in_any_of_its_forms_is_read(e3: Command) -> None:
    path = checkpoint(e3, "trial")
    packed = path.with_name("packed.json.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.with_name("new.json").write_text('{"version": 3, "checkpoint": {"stack": "s"}}')
    levels = {found["level"] for found in findings(e3)}
    assert levels <= {"WARN"}
    packed.write_bytes(packed.read_bytes()[:20])
    (found,) = about(findings(e3), "stack packed")
    assert found["level"] == "FAIL"
