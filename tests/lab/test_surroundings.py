"""Stacks work whatever surrounds them: another umask, hostile variables, a disk that is full."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from e3 import private
from tests.commands import Command
from tests.stack import Stack, project
from tests.unit.test_environment import HOSTILE

HELLO = "demos/helloworld.py"
PROXIED = dict.fromkeys(
    ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "grpc_proxy"), "http://127.0.0.1:9"
)
WORDS = "print('gr\u00fc\u00dfe')\n"
FULL = """
set -e
mount -t tmpfs -o size=1m,mode=700 full .e3/state
cp -a state.whole/. .e3/state/
dd if=/dev/zero of=.e3/state/filler bs=4k 2>/dev/null || true
for verb in "up --skip-preview" refresh "destroy --skip-preview"; do
    pulumi $verb --yes --stack trial || true
done
rm .e3/state/filler
cp -a .e3/state/. state.left/
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with project(tmp_path_factory.mktemp("surroundings") / "a project") as made:
        yield made


def command(stack: Stack) -> Command:
    return Command(folder=stack.folder, environment=stack.environment)


def about(stack: Stack, *options: str) -> list[Mapping[str, str]]:
    said = command(stack)("doctor", "--state", "--json", *options).stdout
    found: list[Mapping[str, str]] = json.loads(said)["findings"]
    return found


@pytest.mark.parametrize(
    "umask",
    ["777", *(pytest.param(umask, marks=pytest.mark.long) for umask in ("000", "027", "077"))],
)
def test_no_umask_keeps_a_stack_from_working_nor_opens_its_files(stack: Stack, umask: str) -> None:
    prefix = ("sh", "-c", f'umask {umask}; exec "$@"', "sh")
    umasked = replace(stack, prefix=prefix)
    umasked.brought_up(overlay="plain", program=HELLO, trigger=umask)
    e3 = [*prefix, f"{stack.folder}/scripts/bin/e3"]
    done = subprocess.run(
        [*e3, "run", HELLO, "--stack", "trial"],
        env=dict(stack.environment),
        cwd=stack.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert private.loose(stack.folder / ".e3") == []
    ended = umasked.pulumi("destroy --yes --skip-preview")
    assert ended.exit == 0, ended.said


@pytest.mark.long
def test_hostile_variables_do_not_make_a_stack_that_nobody_can_destroy(stack: Stack) -> None:
    # as they are of a caller: pulumi is the first on PATH, without `scripts/activate` since
    environment = {**stack.environment, **HOSTILE, **PROXIED}
    hostile = replace(stack, name="hostile", environment=environment)
    assert hostile.pulumi("stack init").exit == 0
    hostile.brought_up(overlay="plain", program=stack.write(WORDS), tls=True)
    answer = command(hostile)("run", "program.py", "--stack", "hostile")
    assert answer.returncode == 0, answer.stderr
    assert "gr\u00fc\u00dfe" in answer.stdout
    assert answer.stderr.count("E3: decides itself") == 1
    plain = replace(hostile, environment=stack.environment)
    assert plain.pulumi("refresh --yes").exit == 0
    ended = plain.pulumi("destroy --yes --skip-preview")
    assert ended.exit == 0, ended.said


def test_limits_reach_a_run_as_soon_as_they_are_configured(stack: Stack) -> None:
    stack.standing(overlay="plain", program=HELLO)
    stack.write("import os\nprint('x' * 3_000_000)\n", "loud.py")
    e3 = command(stack)
    assert e3("run", "loud.py", "--stack", "trial").returncode == 0
    configured = {"e3:overlay": "plain", "e3:program": HELLO}
    stack.configure({**configured, "e3:limits": {"output-mb": 1}})
    answer = e3("run", "loud.py", "--stack", "trial")
    assert answer.returncode == 12, answer.stdout
    assert "output" in answer.stdout
    stack.configure({**configured, "e3:limits": {"output": 1}})
    answer = e3("run", "loud.py", "--stack", "trial")
    assert answer.returncode == 2
    assert "e3:limits: unknown limit 'output'" in answer.stderr
    stack.configure({**configured, "e3:parties": 2})
    assert "2 parties over plain" in e3("run", HELLO, "--stack", "trial").stdout


def test_a_full_disk_is_told_and_what_it_left_is_mended(stack: Stack) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    stack.standing(overlay="plain", program=HELLO)
    state = stack.folder / ".e3/state"
    shutil.copytree(state, stack.folder / "state.whole")
    (stack.folder / "state.left").mkdir()
    full = subprocess.run(
        ["unshare", "--mount", "sh", "-c", FULL],
        cwd=stack.folder,
        env=dict(stack.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert full.returncode == 0, full.stderr
    # what Pulumi had there when its disk was full
    shutil.rmtree(state)
    (stack.folder / "state.left").rename(state)
    assert any(path.stat().st_size == 0 for path in (state / ".pulumi/locks").rglob("*.tmp"))
    refused = stack.pulumi("refresh --yes")
    assert refused.exit != 0
    assert "e3 doctor --fix" in refused.said
    found = [one for one in about(stack) if one["level"] == "FAIL"]
    assert found
    assert all("locked by .e3/state/.pulumi/locks" in one["detail"] for one in found)
    about(stack, "--fix")
    assert about(stack) == []
    assert stack.pulumi("refresh --yes").exit == 0
    ended = stack.pulumi("destroy --yes --skip-preview")
    assert ended.exit == 0, ended.said


@pytest.mark.long
def test_a_state_that_was_cut_off_is_restored_and_refreshed(stack: Stack) -> None:
    stack.standing(overlay="plain", program=HELLO)
    lab = stack.lab.status()["pid"]
    checkpoint = stack.folder / ".e3/state/.pulumi/stacks/e3/trial.json"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert stack.pulumi("refresh --yes").exit != 0
    (broken,) = (found for found in about(stack) if found["level"] == "FAIL")
    assert "trial.json is not whole" in broken["detail"]
    answer = command(stack)("run", HELLO, "--stack", "trial")
    assert answer.returncode == 2
    assert "`e3 doctor --fix`" in answer.stderr
    fixed = about(stack, "--fix")[0]
    assert fixed["detail"].startswith("restored the backup")
    assert stack.pulumi("refresh --yes").exit == 0
    assert stack.up(overlay="plain", program=HELLO).exit == 0
    assert stack.lab.status()["pid"] == lab
    assert about(stack) == []
