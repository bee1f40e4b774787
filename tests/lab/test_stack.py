"""One stack through its life, by the real program and the real engine.

The tests share the stack. Each says by `Stack.standing` what it starts from, so that none
depends on another.
"""

import ast
import json
import os
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e3.outputs import read_paths
from tests.stack import Stack, until

SANTA = "demos/secret_santa.py"
HELLO = "demos/helloworld.py"
NAMES = ["ams3-0", "ams3-1", "sgp1-0"]

OUTPUTS = {"hosts", "hosts-dns", "hosts-mpyc", "session"}
OUTPUTS_BY_SSH = {"hosts-ansible", "hosts-colmena", "hosts-pssh", "ssh_config"}
HOST_TYPES = {"name": str, "region": str, "underlay": str, "overlay": str, "pid": int}
SESSION_TYPES = {
    "id": str,
    "program": str,
    "digest": str,
    "overlay": str,
    "verdict": str,
    "reason": str,
    "parties": list,
    "setup_seconds": float,
    "online_seconds": float,
    "wall_seconds": float,
    "paths": str,
    "notes": list,
    "evidence": str,
}
PARTY_TYPES = {
    "pid": int,
    "host": str,
    "exit": int,
    "seconds": float,
    "sent_bytes": int,
    "output": str,
    "output_files": int,
    "output_files_bytes": int,
    "cpu_seconds": float,
    "peak_memory_bytes": int,
}
PATH_TYPES = {"from": str, "to": str, "class": str, "rtt_ms": float, "class_after": str}


def types(values: Mapping[str, Any]) -> dict[str, type]:
    return {key: type(value) for key, value in values.items()}


def lives(stack: Stack) -> dict[str, tuple[int, int]]:
    """Return the hosts that live, each with process id and start of its first process."""
    return {host.name: (host.identity.pid, host.identity.started) for host in stack.lab.hosts()}


def changed(stack: Stack, before: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return which of E3's resources were made, changed or replaced since."""
    return {
        name
        for name, resource in stack.resources.items()
        if name.startswith("e3:")
        and (name not in before or before[name]["modified"] != resource["modified"])
    }


def ssh(stack: Stack, command: str, *arguments: str) -> str:
    done = subprocess.run(
        [command, "-F", stack.outputs["ssh_config"], *arguments],
        cwd=stack.folder,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_outputs_have_their_stable_names_and_types(stack: Stack) -> None:
    stack.standing(program=SANTA)
    said = stack.pulumi("stack output", "--json")
    outputs = json.loads(said.said)
    assert set(outputs) == OUTPUTS | (OUTPUTS_BY_SSH if os.geteuid() == 0 else set())
    assert [host["name"] for host in outputs["hosts"]] == NAMES
    assert [host["overlay"] for host in outputs["hosts"]] == ["10.77.0.1", "10.77.0.2", "10.77.0.3"]
    assert all(types(host) == HOST_TYPES for host in outputs["hosts"])
    session = outputs["session"]
    assert types(session).items() >= SESSION_TYPES.items()
    assert all(types(party) == PARTY_TYPES for party in session["parties"])
    paths = read_paths(session["paths"])
    assert all(types(path) == PATH_TYPES for path in paths)
    assert {(path["from"], path["to"]) for path in paths} == {
        (one, other) for one in NAMES for other in NAMES if one != other
    }
    assert session["verdict"] == "completed"
    assert session["overlay"] == "nebula"
    assert {path["class"] for path in paths} == {"direct"}
    evidence = stack.folder / session["evidence"]
    assert not Path(session["evidence"]).is_absolute()
    assert {path.name for path in evidence.iterdir()} == {
        "manifest.json",
        "result.json",
        *(f"{name}.log" for name in NAMES),
    }


def test_nothing_lies_beside_the_state_that_a_kill_could_leave_unreadable(stack: Stack) -> None:
    stack.standing(program=SANTA)
    state = stack.folder / ".e3" / "state"
    assert list(state.rglob("trial.json"))
    assert list(state.rglob("*.attrs")) == []


def test_secret_santa_is_a_permutation_without_fixed_points(stack: Stack) -> None:
    parties = stack.standing(program=SANTA)["session"]["parties"]
    assert len({party["output"] for party in parties}) == 1
    drawn = ast.literal_eval(re.findall(r"\[.*\]", parties[0]["output"])[-1])
    assert sorted(drawn) == list(range(len(drawn)))
    assert all(giver != receiver for giver, receiver in enumerate(drawn))


@pytest.mark.parametrize("verb", ["up --yes --skip-preview", "refresh --yes --skip-preview"])
def test_without_a_change_nothing_changes(stack: Stack, verb: str) -> None:
    stack.standing(program=SANTA)
    before, living = stack.resources, lives(stack)
    ended = stack.pulumi(verb)
    assert ended.exit == 0
    assert re.search(rf"Resources:\n +{len(before) - 1} unchanged\n", ended.said), ended.said
    assert changed(stack, before) == set()
    assert lives(stack) == living
    if verb.startswith("refresh"):
        assert stack.pulumi("preview", "--expect-no-changes").exit == 0


def test_a_trigger_runs_the_session_again_and_nothing_else_and_a_deadline_does_not(
    stack: Stack,
) -> None:
    first = stack.standing(program=HELLO)["session"]["id"]
    assert stack.brought_up(program=HELLO, deadline_seconds=599)["session"]["id"] == first
    before = stack.resources
    values = {"deadline_seconds": 599, "trigger": "once more"}
    again = stack.brought_up(program=HELLO, **values)["session"]["id"]
    assert again != first
    assert {name.split()[0] for name in changed(stack, before)} == {"e3:Session"}


def test_fewer_parties_than_hosts(stack: Stack) -> None:
    outputs = stack.standing(program=HELLO, parties=2)
    assert [party["pid"] for party in outputs["session"]["parties"]] == [0, 1]
    assert sorted(host["pid"] is None for host in outputs["hosts"]) == [False, False, True]


FOUL = r"[/tmp/x] \x1b]0;owned\x07\x1b[2J"
"""As a source writes it, and as it is shown."""

FAILS = f"""
from mpyc.runtime import mpc
mpc.run(mpc.start())
print('{FOUL}')
if mpc.pid == 1 and FAILS: raise ValueError('{FOUL}')
mpc.run(mpc.shutdown())
"""


def test_a_changed_program_runs_again_and_its_failure_is_one_sentence_that_commands_no_terminal(
    stack: Stack,
) -> None:
    stack.standing(program=HELLO)
    living = lives(stack)
    program = stack.write(FAILS.replace("FAILS", "False"), "foul.py")
    ended = stack.up(program=program)
    assert ended.exit == 0, ended.said
    assert "\x1b" not in ended.said
    first = stack.outputs["session"]
    assert [party["output"] for party in first["parties"]] == [f"{FOUL}\n"] * 3

    stack.write(FAILS.replace("FAILS", "True"), "foul.py")
    ended = stack.up(program=program)
    assert ended.exit != 0
    assert "\x1b" not in ended.said
    assert "Traceback" not in ended.said
    sentence = rf"party 1 \(ams3-1\) exited with status 1: ValueError: {re.escape(FOUL)}"
    found = re.search(rf"session \S+ party-failed: {sentence}.* \(evidence: (\S+)\)", ended.said)
    assert found, ended.said
    evidence = stack.folder / found[1]
    result = json.loads((evidence / "result.json").read_text())
    assert result["verdict"] == "party-failed"
    assert result["digest"] != first["digest"]
    assert "ValueError: " in (evidence / "ams3-1.log").read_text()

    # the stack stays usable
    assert stack.brought_up(program=HELLO)["session"]["verdict"] == "completed"
    assert evidence.is_dir()
    assert lives(stack) == living


def test_a_killed_host_is_noticed_and_made_anew_alone(stack: Stack) -> None:
    stack.standing(program=HELLO)
    before = lives(stack)
    os.kill(before["ams3-1"][0], signal.SIGKILL)
    until(lambda: "ams3-1" not in lives(stack), "the lab notices a dead host")
    refreshed = stack.pulumi("refresh --yes --skip-preview")
    assert refreshed.exit == 0
    assert "e3:Host ams3-1" not in stack.resources
    assert "e3:Host ams3-0" in stack.resources
    outputs = stack.brought_up(program=HELLO)
    assert outputs["session"]["verdict"] == "completed"
    assert [host["overlay"] for host in outputs["hosts"]] == ["10.77.0.1", "10.77.0.2", "10.77.0.3"]
    after = lives(stack)
    assert {name for name in after if before[name] != after[name]} == {"ams3-1"}


def test_a_killed_host_is_made_anew_without_a_refresh(stack: Stack) -> None:
    stack.standing(program=HELLO)
    before = lives(stack)
    os.kill(before["sgp1-0"][0], signal.SIGKILL)
    until(lambda: "sgp1-0" not in lives(stack), "the lab notices a dead host")
    assert stack.brought_up(program=HELLO)["session"]["verdict"] == "completed"
    after = lives(stack)
    assert {name for name in after if before[name] != after[name]} == {"sgp1-0"}


@pytest.mark.parametrize(
    "refresh",
    [
        pytest.param(False, id="at once"),
        pytest.param(True, id="after a refresh", marks=pytest.mark.long),
    ],
)
def test_a_killed_lab_is_made_anew_as_a_whole(stack: Stack, *, refresh: bool) -> None:
    stack.standing(program=HELLO)
    before = lives(stack)
    os.kill(stack.lab.status()["pid"], signal.SIGKILL)
    until(lambda: not stack.lab.alive(), "the lab's end")
    if refresh:
        ended = stack.pulumi("refresh --yes --skip-preview")
        assert ended.exit == 0, ended.said
    assert stack.brought_up(program=HELLO)["session"]["verdict"] == "completed"
    after = lives(stack)
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values())


def test_a_host_with_another_address_is_noticed_and_joined_again(stack: Stack) -> None:
    stack.standing(program=HELLO)
    before, living = stack.resources, lives(stack)
    moved = stack.lab.renumber_host("ams3-0")
    assert stack.pulumi("refresh --yes --skip-preview").exit == 0
    outputs = stack.brought_up(program=HELLO)
    assert outputs["hosts"][0]["underlay"] == moved.underlay
    assert lives(stack) == living
    assert changed(stack, before) - {"e3:Host ams3-0"} == {"e3:Overlay nebula"}
    assert stack.pulumi("preview", "--expect-no-changes").exit == 0


def test_hosts_that_do_not_talk_any_more_are_noticed_and_joined_again(stack: Stack) -> None:
    stack.standing(program=HELLO)
    before, living = stack.resources, lives(stack)
    stack.lab.set_cable("ams3-1", whole=False)
    try:
        assert stack.pulumi("refresh --yes --skip-preview").exit == 0
    finally:
        stack.lab.set_cable("ams3-1", whole=True)
    assert stack.pulumi("preview", "--expect-no-changes").exit != 0
    stack.brought_up(program=HELLO)
    assert changed(stack, before) == {"e3:Overlay nebula"}
    assert lives(stack) == living


def test_another_overlay_on_the_same_hosts(stack: Stack) -> None:
    stack.standing(program=HELLO)
    living = lives(stack)
    outputs = stack.brought_up(program=HELLO, overlay="plain")
    assert outputs["session"]["overlay"] == "plain"
    assert [host["overlay"] for host in outputs["hosts"]] == [
        host["underlay"] for host in outputs["hosts"]
    ]
    assert not [name for name in stack.resources if "Authority" in name or "nebula" in name]
    assert lives(stack) == living
    links = [interfaces(pid) for pid, _ in living.values()]
    assert not any("nebula" in name for names in links for name in names)
    assert stack.brought_up(program=HELLO)["session"]["overlay"] == "nebula"
    assert lives(stack) == living


def interfaces(pid: int) -> list[str]:
    """Return the names of the interfaces of a host, by its first process."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return [line.partition(":")[0].strip() for line in lines]


def test_another_host_and_region_move_nobody(stack: Stack) -> None:
    before = stack.standing(program=HELLO)["hosts"]
    living = lives(stack)
    more = {"ams3": 3, "nyc3": 1, "sgp1": 1}
    grown = stack.brought_up(program=HELLO, regions=more)
    known = {host["name"]: host for host in grown["hosts"]}
    assert list(known) == ["ams3-0", "ams3-1", "ams3-2", "nyc3-0", "sgp1-0"]
    for host in before:
        assert {**known[host["name"]], "pid": None} == {**host, "pid": None}
    assert {name: life for name, life in lives(stack).items() if name in living} == living
    shrunk = stack.brought_up(program=HELLO)
    assert shrunk["hosts"] == before
    assert lives(stack) == living


@pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")
def test_ssh_and_its_kin_reach_every_host(stack: Stack, tmp_path: Path) -> None:
    stack.standing(program=HELLO)
    assert [ssh(stack, "ssh", name, "hostname").strip() for name in NAMES] == NAMES
    sent = tmp_path / "sent"
    sent.write_bytes(os.urandom(200_000))
    ssh(stack, "scp", str(sent), "sgp1-0:/root/received")
    ssh(stack, "scp", "sgp1-0:/root/received", str(tmp_path / "returned"))
    assert (tmp_path / "returned").read_bytes() == sent.read_bytes()


def test_no_secret_in_plain_text(stack: Stack) -> None:
    watched, over = set[bytes](), threading.Event()
    watcher = threading.Thread(target=watch, args=(watched, over), daemon=True)
    watcher.start()
    try:
        stack.pulumi("destroy --yes --skip-preview")
        stack.brought_up(program=HELLO)
    finally:
        over.set()
        watcher.join()
    export = stack.pulumi("stack export", "--show-secrets").said
    secrets = private_keys(export)
    assert secrets, "the authority's key is in the state, encrypted"
    kept = [path for path in (stack.folder / ".e3").rglob("*") if path.is_file()]
    kept = [path for path in kept if "ssh" not in path.parts]  # the lab's own keys, mode 0600
    for secret in (b"PRIVATE KEY", *secrets):
        assert not [path for path in kept if secret in path.read_bytes()]
        assert not [line for line in watched if secret in line]


LOOKS = 50
"""For so many times 20 ms a process is watched: longer than it takes to become what it runs."""


def private_keys(text: str) -> list[bytes]:
    """Return the first line of each PEM private key in a JSON text."""
    return [found.encode() for found in re.findall(r"PRIVATE KEY-----(?:\\+n)(\S{20})", text)]


def watch(seen: set[bytes], over: threading.Event) -> None:
    """Collect the command lines and environments of all processes, of each a few times."""
    looks = Counter[Path]()
    while not over.wait(0.02):
        looks.update(Path("/proc").glob("[0-9]*"))
        young = [process for process, count in looks.items() if count <= LOOKS]
        seen.update(read_all(process / "cmdline" for process in young))
        seen.update(read_all(process / "environ" for process in young))


def read_all(paths: Iterable[Path]) -> Iterable[bytes]:
    for path in paths:
        try:
            yield path.read_bytes()
        except OSError:
            continue


MISTAKES: dict[str, tuple[dict[str, object], str]] = {
    "overlay": (
        {"overlay": "nebulla"},
        "e3:overlay: unknown value 'nebulla'; choose one of ",
    ),
    "key": ({"programm": HELLO}, "e3:programm: unknown key; choose one of args,"),
    "program": ({"program": "nosuch.py"}, "program nosuch.py does not exist"),
    "range": (
        {"overlay-options": {"range": "10.0.0.0/30"}},
        "e3:overlay-options: range is '10.0.0.0/30': 2 addresses are too few for 3 hosts",
    ),
}


def test_a_mistake_is_a_sentence_and_changes_nothing(stack: Stack) -> None:
    stack.standing(program=HELLO)
    before, living = stack.resources, lives(stack)
    for mistake, (values, message) in MISTAKES.items():
        ended = stack.up(**{"program": HELLO, **values})
        assert ended.exit != 0, mistake
        assert message in ended.said
        assert "Traceback" not in ended.said
    assert changed(stack, before) == set()
    assert lives(stack) == living


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a capability to lose")
def test_a_machine_that_permits_no_namespaces_says_what_to_do(stack: Stack) -> None:
    bare = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")  # as in a container
    barred = replace(stack, name="barred", prefix=bare)
    assert barred.pulumi("stack init").exit == 0
    ended = barred.up()
    assert ended.exit != 0
    assert "refuses the lab its namespaces (Operation not permitted)" in ended.said
    assert "`docker run --privileged`" in ended.said
    assert "Traceback" not in ended.said
    assert not [name for name in barred.resources if name.startswith("e3:")], barred.resources
    assert barred.pulumi("destroy", "--yes", "--skip-preview").exit == 0


def test_destroy_when_all_is_dead_already(stack: Stack) -> None:
    stack.standing(program=HELLO)
    os.kill(stack.lab.status()["pid"], signal.SIGKILL)
    until(lambda: not stack.lab.alive(), "the lab's end")
    ended = stack.pulumi("destroy --yes --skip-preview")
    assert ended.exit == 0, ended.said
    assert stack.resources == {}
