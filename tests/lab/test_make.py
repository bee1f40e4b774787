"""`make up` and `make down` as a person types them in a clone."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.salt import Salt
from tests.commands import Command
from tests.schemas import conforming
from tests.stack import FLEET, ROOT, Stack, project

STACK = "Pulumi.clone.yaml"


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=e3", "-c", "user.email=e3@localhost"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A committed project that is set up, with a small stack `clone` that is not up."""
    with project(tmp_path_factory.mktemp("make") / "clone") as stack:
        for name in ("Makefile", ".gitattributes"):
            (stack.folder / name).write_text((ROOT / name).read_text())
        # .venv and .tools are those of these tests, so set-up has nothing to do for them
        (stack.folder / "scripts/setup").write_text("#!/bin/sh\nexit 0\n")
        ignored = [*(ROOT / ".gitignore").read_text().splitlines(), f"/{stack.name}.*", "*.pyc"]
        (stack.folder / ".gitignore").write_text("\n".join([*ignored, "Pulumi.trial.yaml", ""]))
        keys = {**FLEET, "e3:program": "demos/helloworld.py"}
        lines = [f"  {key}: {json.dumps(value)}\n" for key, value in keys.items()]
        (stack.folder / STACK).write_text(f"config:\n{''.join(lines)}")
        git(stack.folder, "init", "--quiet")
        git(stack.folder, "add", "--all")
        git(stack.folder, "commit", "--quiet", "--message", "x")
        Salt(stack.folder).do()
        assert git(stack.folder, "status", "--porcelain") == ""
        yield stack


def make(stack: Stack, verb: str) -> subprocess.CompletedProcess[str]:
    environment = dict(stack.environment)
    return subprocess.run(
        ["make", verb, "STACK=clone"],
        cwd=stack.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_up_and_down_show_what_a_person_wants_and_change_no_file(clone: Stack) -> None:
    up = make(clone, "up")
    assert up.returncode == 0, up.stdout + up.stderr
    assert git(clone.folder, "status", "--porcelain") == ""
    screen = up.stdout[up.stdout.index("stack clone: 3 hosts, joined by nebula") :]
    assert len(screen.splitlines()) < 50
    for part in (
        "ams3-1  1      10.77.0.2",
        "round trips in ms, from host to host",
        "all 3 parties:",
        "completed: ",
        "took: hosts ",
        "evidence: .e3/clone/sessions/",
        "  . scripts/activate ",
        "  make down STACK=clone ",
    ):
        assert part in screen
    assert "hosts-colmena" not in up.stdout

    e3 = Command(folder=clone.folder, environment=clone.environment)
    shown = conforming("show", e3("show", "--json").stdout)  # make has selected the stack
    assert [host["name"] for host in shown["hosts"]] == ["ams3-0", "ams3-1", "sgp1-0"]
    assert shown["session"]["verdict"] == "completed"
    assert shown["newest_run"] is None

    # a session runs once the round trips are known to be those asked for
    assert up.stdout.index("round-trips created") < up.stdout.index("Session helloworld creating")

    down = make(clone, "down")
    assert down.returncode == 0, down.stdout + down.stderr
    assert git(clone.folder, "status", "--porcelain") == ""
