"""After `pulumi destroy` nothing is left of several stacks, on a machine that has nothing else.

That machine is a set of namespaces, so that what others do on this one is not compared.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.test_lab_rootless import run_as_user, stage
from tests.stack import ROOT

__all__ = ["stage"]

MACHINE = """
set -e
ip link set lo up
mount --make-rprivate /
mount -t tmpfs -o mode=755 stage /mnt
mkdir /mnt/home /mnt/project
count=0
for path in $REACHED; do
    count=$((count + 1)); mkdir /mnt/$count; mount --bind "$path" /mnt/$count
done
for covered in /run /tmp /var/tmp; do mount -t tmpfs -o mode=1777 covered $covered; done
count=0
for path in $REACHED; do
    count=$((count + 1)); mkdir -p "$path"; mount --bind /mnt/$count "$path"
done
cd "$PROJECT"
exec tini -s -- "$@"
"""
LIFE = """
import contextlib, json, os, sys, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tests.commands import Command
from tests.stack import project

PLACES = ("/run", "/tmp", "/var/tmp", "/var/lib", "/etc/netns", "/dev/shm", "/mnt/home")

def links(what):
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found.update(what(Path("/proc", pid)))
    return found

def namespaces():
    return links(lambda process: [os.readlink(link) for link in (process / "ns").iterdir()])

def processes():
    return links(lambda process: [f"{process.name} {(process / 'cmdline').read_text()}"])

def interfaces():
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    return {line.partition(":")[0] for line in lines}

def mounts():
    return set(Path("/proc/self/mountinfo").read_text().splitlines())

def files():
    return {
        os.path.join(place, name)
        for top in PLACES
        for place, folders, names in os.walk(top)
        for name in folders + names
    }

def descriptors():
    return os.listdir("/proc/self/fd")

def machine():
    kinds = (namespaces, processes, interfaces, mounts, files, descriptors)
    return {kind.__name__: sorted(kind()) for kind in kinds}

def come(stack):
    if stack.name != "trial":
        assert stack.pulumi("stack init").exit == 0
    outputs = stack.brought_up(program="demos/helloworld.py")
    e3 = Command(folder=stack.folder, environment=stack.environment)
    run = e3("run", "demos/helloworld.py", "--stack", stack.name, "--json")
    names = [host.name for host in stack.lab.hosts()]
    assert sorted(names) == ["ams3-0", "ams3-1", "sgp1-0"], names
    session = outputs["session"]
    return session["overlay"], session["verdict"], json.loads(run.stdout)["verdict"]

def go(stack):
    ended = stack.pulumi("destroy --yes --skip-preview")
    assert ended.exit == 0, ended.said
    removed = stack.pulumi("stack rm --yes --preserve-config --remove-backups")
    assert removed.exit == 0, removed.said

before = machine()
with project(Path("/mnt/project")) as stack:
    count = int(sys.argv[1])
    overlays = ["nebula", "plain"] * (count // 2)
    stacks = [
        replace(
            stack,
            name=f"trial{i}" if i else "trial",
            base={**stack.base, "e3:overlay": overlay},
        )
        for i, overlay in enumerate(overlays)
    ]
    with ThreadPoolExecutor(count) as at_once:
        verdicts = list(at_once.map(come, stacks))
        during = machine()
        go(stacks.pop())
        assert len(stack.lab.hosts()) == 3
        list(at_once.map(go, stacks))
    during["state"] = ["up"]
    state = Path("/mnt/project/.e3/state/.pulumi")
    left = [str(path) for path in state.rglob("*trial*") if path.is_file()]
    deadline = time.monotonic() + 60
    while (after := machine()) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    print(json.dumps({
        "before": {**before, "state": []},
        "during": during,
        "after": {**after, "state": left},
    }))
    assert verdicts == [(each, "completed", "completed") for each in overlays], verdicts
"""
ORDINARY = """
import os, sys
from pathlib import Path
from tests.stack import processes_below, project

assert os.geteuid() != 0
with project(Path(sys.argv[1]) / "project") as stack:
    outputs = stack.brought_up()
    assert outputs["session"]["verdict"] == "completed"
    assert outputs["session"]["overlay"] == "nebula"
    assert len({party["output"] for party in outputs["session"]["parties"]}) == 1
    assert stack.pulumi("preview", "--expect-no-changes").exit == 0
    ended = stack.pulumi("destroy --yes --skip-preview")
    assert ended.exit == 0, ended.said
    assert processes_below(stack.folder) == []
print("done")
"""


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.long)])
def life(request: pytest.FixtureRequest) -> dict[str, dict[str, list[str]]]:
    """Bring stacks up at once, and down, on a machine of their own; return what was there."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make a machine of its own")
    reached = {ROOT, Path(sys.base_prefix), Path(sys.prefix).resolve(), (ROOT / ".tools").resolve()}
    reached = {path for path in reached if not any(other in reached for other in path.parents)}
    machine = ["unshare", "-m", "-u", "-i", "-n", "-p", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        [*machine, "sh", "-c", MACHINE, "sh", sys.executable, "-c", LIFE, str(request.param)],
        env={
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/mnt/home",
            "PROJECT": str(ROOT),
            "REACHED": " ".join(sorted(map(str, reached - {Path("/usr")}))),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found: dict[str, dict[str, list[str]]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "kind", ["namespaces", "processes", "interfaces", "mounts", "files", "descriptors", "state"]
)
def test_destroy_leaves_nothing(life: dict[str, dict[str, list[str]]], kind: str) -> None:
    assert life["after"][kind] == life["before"][kind]


@pytest.mark.parametrize("kind", ["namespaces", "processes"])
def test_what_is_compared_would_show_a_stack(
    life: dict[str, dict[str, list[str]]], kind: str
) -> None:
    assert len(life["during"][kind]) > len(life["before"][kind])


@pytest.mark.parametrize("kind", ["interfaces", "mounts", "files"])
def test_a_stack_never_touches_the_machine(
    life: dict[str, dict[str, list[str]]], kind: str
) -> None:
    assert life["during"][kind] == life["before"][kind]


def test_an_ordinary_user_can_run_a_stack(stage: Path) -> None:
    assert run_as_user(ORDINARY, stage, "666") == "done\n"
