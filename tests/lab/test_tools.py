"""The tools that people have reach every host of a stack: rsync, pssh, and scripts/ over them."""

import os
import re
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.stack import Stack, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")

NAMES = ["ams3-0", "ams3-1", "sgp1-0"]
SECONDS = 90.0


@pytest.fixture(scope="module")
def up(stack: Stack) -> Stack:
    """The stack, with hosts and a first session."""
    stack.brought_up(program="demos/helloworld.py")
    return stack


def tell(stack: Stack, *argv: str, stdin: str = "", status: int = 0) -> str:
    """Return what a command prints in the stack's folder."""
    done = subprocess.run(
        argv,
        cwd=stack.folder,
        env=dict(stack.environment),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == status, done.stderr + done.stdout
    return done.stdout


def ssh(stack: Stack, host: str, command: str) -> str:
    return tell(stack, "ssh", "-F", stack.outputs["ssh_config"], host, command)


def test_ssh_reads_its_configuration(up: Stack) -> None:
    for name in NAMES:
        said = tell(up, "ssh", "-G", "-F", up.outputs["ssh_config"], name).splitlines()
        settings = dict(line.split(" ", 1) for line in said if " " in line)
        assert settings["user"] == "root"
        assert settings["stricthostkeychecking"] == "true"
        assert "sshd -i" in settings["proxycommand"]


def test_pssh_runs_a_command_on_every_host(up: Stack) -> None:
    (up.folder / "hosts.pssh").write_text(tell(up, "pulumi", "stack", "output", "hosts-pssh"))
    config = up.outputs["ssh_config"]
    said = tell(up, "parallel-ssh", "-h", "hosts.pssh", "-x", f"-F {config}", "-i", "hostname")
    assert sorted(re.findall(r"\[SUCCESS\] (\S+)\n(\S+)", said)) == [(n, n) for n in NAMES]


def test_sync_brings_a_folder_to_every_host_and_no_secret(up: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    (folder / ".e3").mkdir(parents=True)
    (folder / ".e3" / "passphrase").write_text("secret")
    (folder / ".gitignore").write_text("scratch/\n")
    (folder / "scratch").mkdir()
    (folder / "scratch" / "big").write_text("left here")
    (folder / "vote.py").write_text("print('first')")
    tell(up, "scripts/sync", str(folder))
    seen = {ssh(up, name, "cd work && find . -type f | sort") for name in NAMES}
    assert seen == {"./.gitignore\n./vote.py\n"}
    (folder / "vote.py").rename(folder / "poll.py")
    tell(up, "scripts/sync", str(folder))
    assert ssh(up, "sgp1-0", "ls work; cat work/poll.py") == "poll.py\nprint('first')"


def test_run_and_shuffle_are_mpyc_by_hand(up: Stack) -> None:
    (up.folder / "seats.py").write_text(
        "import socket, sys\n"
        "from mpyc.runtime import mpc\n"
        "mpc.run(mpc.start())\n"
        "print('seat', mpc.pid, socket.gethostname(), sys.argv[1:])\n"
        "mpc.run(mpc.shutdown())\n"
    )
    tell(up, "scripts/sync")
    said = tell(up, "scripts/run", "seats.py", "it's a 'word'", "*")
    seats = re.findall(r"^(\S+): seat (\d) (\S+) (.*)$", said, re.MULTILINE)
    order = [host["name"] for host in sorted(up.outputs["hosts"], key=lambda h: h["pid"])]
    assert sorted((int(pid), host) for _, pid, host, _ in seats) == list(enumerate(order))
    assert all(prefix == host for prefix, _, host, _ in seats)
    assert {arguments for *_, arguments in seats} == {repr(["it's a 'word'", "*"])}

    shuffled = tell(up, "scripts/shuffle")
    assert sorted(shuffled.splitlines()) == sorted(up.outputs["hosts-mpyc"].splitlines())
    turned = "\n".join(reversed(up.outputs["hosts-mpyc"].splitlines()))
    said = tell(up, "scripts/run", "-", "seats.py", stdin=turned)
    seats = re.findall(r"^(\S+): seat (\d) (\S+) (.*)$", said, re.MULTILINE)
    assert sorted((int(pid), host) for _, pid, host, _ in seats) == list(enumerate(order[::-1]))


def test_run_tells_that_a_party_failed(up: Stack) -> None:
    assert "sgp1-0: " in tell(up, "scripts/run", "nosuch.py", status=1)


def test_an_interrupted_run_leaves_no_party(up: Stack) -> None:
    (up.folder / "endless.py").write_text(
        "import time\nprint('began', flush=True)\ntime.sleep(600)\n"
    )
    tell(up, "scripts/sync")
    running = subprocess.Popen(
        ["scripts/run", "endless.py"],
        cwd=up.folder,
        env=dict(up.environment),
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert running.stdout is not None
    for _ in NAMES:
        assert b"began" in running.stdout.readline()
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(SECONDS) != 0
    running.stdout.close()
    for name in NAMES:
        until(partial(is_free, up, name), f"no party runs on {name}")


def is_free(stack: Stack, host: str) -> bool:
    return "endless" not in ssh(stack, host, "ps -e -o args=")
