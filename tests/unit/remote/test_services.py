"""What is sent to a host, as data: command lines, units of systemd, start scripts."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from e3.access import (
    client_config,
    host_from_properties,
    host_to_properties,
    remote_call,
)
from e3.access.ssh import SshAccess
from e3.remote import framing, services, systemd
from tests.hosts import host

pytestmark = pytest.mark.unit

CANARY = "canary-of-a-request"
SHELLS = [shell for shell in ("sh", "bash", "zsh", "fish", "busybox") if shutil.which(shell)]
WORDS = ["plain", "", "it's", "a b", "$HOME", "`x`", "a\\b", "\\'", "\\\\'", "two\nlines", "\u20ac"]


def test_a_host_survives_being_kept_in_state() -> None:
    access = SshAccess(host="a-0", address="192.0.2.1", port=2222, user="pi", sudo=True)
    made = host("a-0", "192.0.2.1")
    made = type(made)(**{**made.__dict__, "access": access})
    properties = host_to_properties(made)
    assert properties["access"]["kind"] == "ssh"
    properties["access"]["port"] = 2222.0
    assert host_from_properties(properties) == made


@pytest.mark.parametrize("shell", SHELLS)
def test_words_reach_a_command_through_any_shell(shell: str) -> None:
    line = "exec printf %s/ " + " ".join(map(remote_call.quote, WORDS))
    argv = [shell, *(["sh"] if shell == "busybox" else []), "-c", line]
    said = subprocess.run(argv, capture_output=True, check=True, timeout=600)
    assert said.stdout.decode() == "/".join([*WORDS, ""])


def test_a_request_is_not_on_the_command_line() -> None:
    call = remote_call.call("files", "put", {"secret": CANARY}, sudo=True)
    assert CANARY not in call.command
    assert CANARY.encode() in call.stdin
    assert " sudo -n -- python3 -I -S -X utf8 -c " in call.command


def test_only_a_user_without_rights_has_folders_of_its_own() -> None:
    own = SshAccess(host="a-0", address="a", user="pi", own="/home/pi/.e3")
    assert own.place("/run/e3/nebula") == "/home/pi/.e3/run/nebula"
    assert own.place("/var/lib/e3") == "/home/pi/.e3/state"
    assert own.place("/run/e3x") == "/run/e3x"
    assert SshAccess(host="a-0", address="a").place("/run/e3/x") == "/run/e3/x"


UNIT = """\
[Unit]
Description=E3: nebula
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/bin/sh /run/e3/services/nebula/run
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
KillMode=control-group
TimeoutStopSec=2
StandardOutput=journal
StandardError=journal
"""


def test_a_unit_says_how_a_service_runs() -> None:
    folder = Path("/run/e3/services/nebula")
    assert systemd.unit("nebula", folder, "HUP") == UNIT
    assert "ExecReload" not in systemd.unit("nebula", folder, None)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("reload", ["HUP", None])
def test_systemd_finds_nothing_wrong_with_a_unit(tmp_path: Path, reload: str | None) -> None:
    path = tmp_path / "e3-nebula.service"
    path.write_text(systemd.unit("nebula", Path("/run/e3/services/nebula"), reload))
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)],
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert (said.returncode, said.stderr.decode()) == (0, "")
    path.write_text(path.read_text().replace("Restart=always", "Restart=perhaps"))
    assert b"perhaps" in subprocess.run(said.args, capture_output=True, check=False).stderr


def test_a_start_script_has_the_environment_and_nothing_else_runs(tmp_path: Path) -> None:
    service = {"argv": ["env"], "environment": {"MOOD": "it's $HOME\nhere", "PATH": "/bin"}}
    script = services.run_script(service, {"PATH": "/usr/bin", "LANG": "C.UTF-8"})
    path = tmp_path / "run"
    path.write_text(script)
    said = subprocess.run(
        ["/bin/sh", path], env={}, capture_output=True, check=True, timeout=600
    ).stdout.decode()
    assert "MOOD=it's $HOME\nhere\n" in said
    assert "PATH=/bin\n" in said
    assert "LANG=C.UTF-8\n" in said


def test_openssh_gets_an_entry_for_each_host(tmp_path: Path) -> None:
    pinned = SshAccess(
        host="home-0", address="192.0.2.1", port=2222, user="pi", key="/k", host_key="ssh-x AAAA"
    )
    config = tmp_path / "config"
    config.write_text(
        "Host gate\n  HostName 192.0.2.7\nHost inner\n  HostName 10.0.0.2\n  Port 2022\n"
        "  ProxyJump gate\nHost *\n  User other\n  IdentityFile /key\n  UserKnownHostsFile /known\n"
    )
    alias = SshAccess(host="work-0", address="inner", user="me", port=0, ssh_config=str(config))
    blocks = [client_config.block(alias), client_config.block(pinned)]
    last = client_config.on_the_way([alias, pinned])
    (tmp_path / "ssh_config").write_text("\n".join([*blocks, last]))

    def effective(name: str) -> dict[str, str]:
        command = ["ssh", "-G", "-F", str(tmp_path / "ssh_config"), name]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
        return dict(line.split(" ", 1) for line in said.stdout.splitlines() if " " in line)

    one, other, gate = effective("home-0"), effective("work-0"), effective("gate")
    assert (one["hostname"], one["port"], one["user"]) == ("192.0.2.1", "2222", "pi")
    assert one["knownhostscommand"] == "/bin/echo home-0 ssh-x AAAA"
    assert one["stricthostkeychecking"] == other["stricthostkeychecking"] == "true"
    assert (other["hostname"], other["port"], other["user"]) == ("10.0.0.2", "2022", "me")
    assert (other["proxyjump"], other["identityfile"]) == ("gate", "/key")
    assert other["userknownhostsfile"] == "/known"
    assert gate["hostname"] == "192.0.2.7"


@pytest.mark.parametrize("beats", [True, False])
def test_a_command_lives_as_long_as_its_caller_is_heard(*, beats: bool) -> None:
    request = {
        "environment": {"PATH": os.defpath},
        "merge": True,
        "pid_namespace": True,
        "patience": 0.6,
    }
    command = {"argv": ["sh", "-c", "setsid sleep 2 & wait; echo over"], **request}
    call = remote_call.call("command", "main", command)
    process = subprocess.Popen(
        ["sh", "-c", call.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    with process:
        process.stdin.write(call.stdin + framing.sign(framing.END))
        while beats and process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(framing.sign(framing.BEAT))
                process.stdin.flush()
            time.sleep(0.05)
        process.stdin.flush()
        said = process.stdout.read() if process.stdout else b""
    assert said == framing.MARK + (b"over\n" if beats else b"")
    assert process.returncode == (0 if beats else -signal.SIGKILL)


def test_the_end_of_a_quick_command_is_never_missed() -> None:
    request = {
        "environment": {"PATH": os.defpath},
        "merge": True,
        "pid_namespace": False,
        "patience": 60,
    }
    call = remote_call.call("command", "main", {"argv": ["true"], **request})
    for _ in range(20):
        argv = ["sh", "-c", call.command]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0
        ) as process:
            assert process.stdin is not None
            process.stdin.write(call.stdin)
            assert (
                process.wait(59) == 0
            )  # an end that was missed would show only after ``patience``
