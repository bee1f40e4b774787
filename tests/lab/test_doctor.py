"""`e3 doctor` knows a lab by what it is, wherever its project and its stack have gone since."""

import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e3 import private
from e3.access.identity import ProcessIdentity, identify
from e3.lab import client
from e3.lab.running import daemons
from tests.commands import Command
from tests.stack import Stack, activated, project, until

HELLO = "demos/helloworld.py"


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Stack]:
    """A stack that is up in a project of its own; whatever becomes of either is ended."""
    with brought_up(tmp_path) as stack:
        yield stack


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that is up, for tests that leave it as it was."""
    with brought_up(tmp_path_factory.mktemp("shared")) as stack:
        yield stack


@contextmanager
def brought_up(folder: Path) -> Iterator[Stack]:
    with project(folder / "project") as stack:
        stack.brought_up(overlay="plain", program=HELLO)
        lab = process(stack)
        yield stack
        if lab.alive():
            os.kill(lab.pid, signal.SIGKILL)


def process(stack: Stack) -> ProcessIdentity:
    """Return the process of the stack's lab."""
    found = identify(stack.lab.status()["pid"])
    assert found is not None
    return found


def command(stack: Stack) -> Command:
    return Command(folder=stack.folder, environment=stack.environment)


def findings(stack: Stack, *options: str) -> list[Mapping[str, Any]]:
    said = command(stack)("doctor", "--state", "--json", *options).stdout
    found: list[Mapping[str, Any]] = json.loads(said)["findings"]
    return found


def renamed_and_back(up: Stack, lab: ProcessIdentity) -> None:
    """Give the stack another name for a while, under which all goes on with its lab."""
    assert up.pulumi("stack rename other").exit == 0
    renamed = replace(up, name="other")
    assert findings(renamed, "--fix") == []
    assert lab.alive()
    e3 = command(renamed)
    assert e3("run", HELLO, "--stack", "other").returncode == 0
    # also where the next update takes the new name for its folders
    assert renamed.up(overlay="plain", program=HELLO, trigger="again").exit == 0
    assert findings(renamed, "--fix") == []
    assert lab.alive()
    assert renamed.pulumi("stack rename trial").exit == 0


@pytest.mark.long
def test_a_stack_renamed_twice_across_two_keeps_both_labs(up: Stack) -> None:
    second = replace(up, name="second")
    assert second.pulumi("stack init").exit == 0
    second.brought_up(overlay="plain", program=HELLO)
    labs = [process(up), process(second)]
    for old, new in (("trial", "spare"), ("second", "trial"), ("spare", "second")):
        assert replace(up, name=old).pulumi(f"stack rename {new}").exit == 0
    assert findings(up, "--fix") == []
    assert all(lab.alive() for lab in labs)
    for name in ("trial", "second"):
        assert replace(up, name=name).pulumi("destroy --yes --skip-preview").exit == 0
    assert not any(lab.alive() for lab in labs)


@pytest.mark.long
def test_a_renamed_stack_and_a_moved_project_keep_their_lab_and_another_in_its_place_leaves_it(
    up: Stack, tmp_path: Path
) -> None:
    lab, place = process(up), up.folder
    renamed_and_back(up, lab)
    moved = replace(up, folder=place.with_name("moved"))
    place.rename(moved.folder)
    moved = replace(moved, environment=activated(moved.folder))
    assert findings(moved, "--fix") == []
    assert lab.alive()
    assert [daemon.process for daemon in daemons(moved.folder / ".e3")] == [lab]
    with project(tmp_path / "other") as begun:
        begun.folder.rename(place)
        other = replace(begun, folder=place, environment=activated(place))
        # a stack of the same name, which has no lab, where the other one's folder was
        assert findings(other, "--fix") == []
        assert command(other)("verify-gone").returncode == 0
        assert lab.alive()
        other.brought_up(overlay="plain", program=HELLO)
        assert findings(other, "--fix") == []
        assert findings(moved, "--fix") == []
        assert lab.alive()
        second = process(other)
        assert second.alive()
        assert other.pulumi("destroy --yes --skip-preview").exit == 0
        assert not second.alive()
        shutil.rmtree(place)
    assert lab.alive()
    assert command(moved)("run", HELLO, "--stack", "trial").returncode == 0
    ended = moved.pulumi("destroy --yes --skip-preview")
    assert ended.exit == 0, ended.said
    assert not lab.alive()
    assert command(moved)("verify-gone").returncode == 0
    moved.folder.rename(place)


def test_a_copied_project_does_not_touch_the_lab_of_the_first(
    shared: Stack, tmp_path: Path
) -> None:
    up, lab = shared, process(shared)
    copy = tmp_path / "copy"
    shutil.copytree(
        up.folder, copy, symlinks=True, ignore=lambda *_: {"lab.sock", "state", "lab.pid"}
    )
    private.folder(copy / ".e3/state")
    other = replace(up, folder=copy, environment=activated(copy))
    findings(other, "--fix")
    assert lab.alive()
    assert findings(up) == []


def test_a_lab_whose_files_were_removed_is_found_and_ended(up: Stack) -> None:
    lab = process(up)
    passphrase = (up.folder / ".e3/passphrase").read_text()
    shutil.rmtree(up.folder / ".e3")
    e3 = command(up)
    refused = e3("run", HELLO, "--stack", "trial")
    assert refused.returncode == 2
    assert "`e3 doctor --fix`" in refused.stderr
    assert "Traceback" not in refused.stderr
    left = e3("verify-gone", "trial")
    assert left.returncode == 1
    assert "`e3 doctor --fix`" in left.stdout
    # as set-up does
    private.folder(up.folder / ".e3/state")
    private.write(up.folder / ".e3/passphrase", passphrase)
    assert up.pulumi("stack init").exit == 0
    up.brought_up(overlay="plain", program=HELLO)
    new = process(up)
    (stray,) = (found for found in findings(up) if found["subject"] == "stack trial")
    assert (stray["level"], stray["fixable"]) == ("WARN", True)
    assert f"process {lab.pid}" in stray["detail"]
    (fixed,) = (found for found in findings(up, "--fix") if found["subject"] == "stack trial")
    assert fixed["level"] == "OK"
    until(lambda: not lab.alive(), "the old lab ends")
    assert new.alive()
    assert client.Lab(up.folder / ".e3/trial/lab").alive()


def test_no_lab_is_ended_while_a_state_cannot_be_read(shared: Stack) -> None:
    up, lab = shared, process(shared)
    checkpoint = up.folder / ".e3/state/.pulumi/stacks/e3/trial.json"
    whole = checkpoint.read_bytes()
    for kept in ("stacks/e3/trial.json.bak", "backups", "history"):
        path = up.folder / ".e3/state/.pulumi" / kept
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    checkpoint.write_bytes(b"")
    found = findings(up, "--fix")
    assert any("there is no backup of it" in one["detail"] for one in found)
    assert not any(one["fixable"] for one in found)
    assert lab.alive()
    checkpoint.write_bytes(whole)
    assert findings(up) == []
