"""Machines with a real OpenSSH server as a fleet: from a list to a result, and back."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from e3.interfaces import File
from e3.lab import client
from e3.lab.host import SSH_FOLDER
from e3.lab.ssh import CLIENT_KEY, KNOWN_HOSTS
from tests import machines
from tests.machines import Machine
from tests.stack import ROOT, Stack, project

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")

HELLO = "demos/helloworld.py"
LOCK = ROOT / "e3" / "party" / "requirements.txt"
PLACES = ("/run", "/var/lib", "/tmp", "/var/tmp", "/root", "/var/log")  # noqa: S108 - the hosts' own
LEFT_OUT = ("/run/.disk", "/run/lab", "/run/service", "/run/sshd")
PORT = 2022


@dataclass(frozen=True)
class Site:
    """Three machines: root at the first, the user ``pi`` at the second, the third behind the first.

    Each has pip configured with an index of its own, which lies in a folder.
    """

    lab: client.Lab
    machines: Sequence[Machine]
    jumped: client.HostHandle
    folder: Path

    def listed(self, **pi: object) -> list[dict[str, Any]]:
        """Return the machines as a file lists them; ``pi`` changes the second."""
        key = str(self.lab.folder / "ssh" / CLIENT_KEY)
        known = machines.host_key(self.lab.folder)
        handles = self.lab.hosts()
        underlay = {handle.name: handle.underlay for handle in handles}
        common = {"address": "127.0.0.1", "key": key, "host-key": known}
        return [
            {
                "host": "gate",
                **common,
                "port": self.machines[0].port,
                "user": "root",
                "underlay": underlay["a-0"],
            },
            {
                "host": "attic",
                **common,
                "port": self.machines[1].port,
                "user": machines.USER,
                "underlay": underlay["a-1"],
                **{name.replace("_", "-"): value for name, value in pi.items()},
            },
            {"host": "inner", "ssh-config": str(self.folder / "config"), "region": "work"},
        ]

    def write(self, path: Path, count: int = 3, **pi: object) -> None:
        path.write_text(yaml.safe_dump({"hosts": self.listed(**pi)[:count]}))

    def files(self) -> Mapping[str, list[str]]:
        """Return what lies on each machine, with type, mode, owner and size."""
        prune = [part for path in LEFT_OUT for part in ("-path", path, "-prune", "-o")]
        what = ["find", *PLACES, "-xdev", *prune, "-printf", "%y %m %u %p %l\n"]
        return {handle.name: sorted(run(handle, *what).splitlines()) for handle in self.lab.hosts()}

    def processes(self) -> Mapping[str, list[str]]:
        """Return what runs on each machine, SSH's own apart."""
        return {
            h.name: Machine(h.access, self.machines[0].server).processes() for h in self.lab.hosts()
        }


def run(handle: client.HostHandle, *argv: str) -> str:
    done = asyncio.run(handle.access.run(argv, timeout_seconds=60))
    assert done.exit == 0, done
    return done.stdout.decode()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of the machines: a folder with what the lock names, and nothing else."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--require-hashes"]
    command = [*pip, "--dest", str(folder), "--requirement", str(LOCK)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=600)
    if done.returncode:
        pytest.skip(f"no index of Python packages: {done.stderr.decode()[-300:]}")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    lab = client.start(folder / "lab", {("a", "a"): 1.0}, visible=[wheels])
    try:
        lab.add_region("a")
        handles = lab.add_hosts([(f"a-{i}", "a") for i in range(3)])
        machines.keys(lab.folder)
        for handle in handles:
            machines.add_user(handle.access, lab.folder, sudo=handle.name == "a-1")
            index(handle, wheels)
        with (
            machines.opened(handles[0].access) as first,
            machines.opened(handles[1].access) as second,
            listening(handles[2]),
        ):
            (folder / "config").write_text(
                f"Host gate\n  HostName 127.0.0.1\n  Port {first.port}\n"
                f"Host inner\n  HostName {handles[2].underlay}\n  Port {PORT}\n  ProxyJump gate\n"
                f"Host *\n  User root\n  IdentityFile {lab.folder / 'ssh' / CLIENT_KEY}\n"
                f"  UserKnownHostsFile {lab.folder / 'ssh' / KNOWN_HOSTS}\n"
            )
            yield Site(lab, [first, second], handles[2], folder)
    finally:
        client.stop(folder / "lab")


def index(handle: client.HostHandle, wheels: Path) -> None:
    """Give a machine an index of its own, as its administrator would."""
    text = f"[global]\nno-index = true\nfind-links = {wheels}\n".encode()
    asyncio.run(
        handle.access.put([File(path="/run/etc/pip.conf", content=text)], timeout_seconds=60)
    )
    run(handle, "mount", "--bind", "/run/etc/pip.conf", "/etc/pip.conf")


@contextmanager
def listening(handle: client.HostHandle) -> Iterator[None]:
    """Run OpenSSH's server at the machine's own address; it ends with the lab."""
    sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", f"{SSH_FOLDER}/sshd_config", "-p", str(PORT)]
    sshd += ["-o", f"ListenAddress={handle.underlay}", "-o", "LogLevel=INFO"]
    argv = [*handle.access.nsenter(), "--", *sshd]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, start_new_session=True) as server:
        try:
            assert server.stderr is not None
            while b"listening" not in server.stderr.readline():
                assert server.poll() is None
            yield
        finally:
            handle_pid = int(run(handle, "pgrep", "-o", "-x", "sshd"))
            run(handle, "kill", str(handle_pid))
            server.communicate()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with project(tmp_path_factory.mktemp("project")) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_left(stack: Stack) -> Iterator[None]:
    """Take away what a test leaves that has failed."""
    yield
    if stack.resources:
        stack.pulumi("destroy --yes --skip-preview")


def up(stack: Stack, **values: object) -> dict[str, Any]:
    return stack.brought_up(
        fleet="inventory", fleet_options={"file": "hosts.yaml"}, program=HELLO, **values
    )


def test_from_a_list_of_machines_to_a_result_and_back(stack: Stack, site: Site) -> None:
    before, running = site.files(), site.processes()
    site.write(stack.folder / "hosts.yaml", sudo=False)
    outputs = up(stack, overlay="plain")
    assert outputs["session"]["verdict"] == "completed"
    assert [host["name"] for host in outputs["hosts"]] == ["home-0", "home-1", "work-0"]

    for name, user in (("home-0", "root"), ("home-1", machines.USER), ("work-0", "root")):
        said = ["ssh", "-F", outputs["ssh_config"], name, "id", "-un"]
        shown = subprocess.run(
            said, cwd=stack.folder, capture_output=True, check=False, timeout=600
        )
        assert shown.stdout.decode().strip() == user, shown.stderr.decode()

    again = stack.pulumi("up --yes --skip-preview")
    assert again.exit == 0, again.said
    assert "unchanged" in again.said
    assert not any(word in again.said for word in (" created", " updated", " replaced", " deleted"))

    if shutil.which("sudo") is not None:  # a device needs root
        site.write(stack.folder / "hosts.yaml", sudo=True)
        assert up(stack, overlay="nebula")["session"]["verdict"] == "completed"

    ended = stack.pulumi("destroy --yes --skip-preview")
    assert ended.exit == 0, ended.said
    assert site.processes() == running
    assert site.files() == before, ended.said


def test_the_example_can_be_previewed(stack: Stack) -> None:
    example = yaml.safe_load((ROOT / "Pulumi.pis-nebula.yaml").read_text())["config"]
    shutil.copy(ROOT / example["e3:fleet-options"]["file"], stack.folder)
    stack.configure(example)
    ended = stack.pulumi("preview")
    assert ended.exit == 0, ended.said
    assert "e3:InventoryHost work-0 create" in ended.said


def test_what_is_unfit_is_said_before_anything_is_made(stack: Stack, site: Site) -> None:
    before = site.files()
    listed = [*site.listed(sudo=False), {"host": "away", "address": "127.0.0.1", "port": 1}]
    (stack.folder / "hosts.yaml").write_text(yaml.safe_dump({"hosts": listed}))
    values = {"fleet": "inventory", "fleet_options": {"file": "hosts.yaml"}, "program": HELLO}
    ended = stack.up(overlay="plain", **values)
    assert ended.exit != 0
    assert "1 of 4 machines cannot be used" in ended.said
    assert "away: host home-2 cannot be reached at 127.0.0.1 port 1" in ended.said
    assert "Traceback" not in ended.said
    assert not any("InventoryHost" in name for name in stack.resources)
    assert site.files() == before


@pytest.mark.long
def test_what_cannot_be_installed_is_undone_and_what_is_away_does_not_hold_a_destroy(
    stack: Stack, site: Site
) -> None:
    before = site.files()
    site.write(stack.folder / "hosts.yaml", 2, sudo=False)
    stack.configure(
        {
            "e3:fleet": "inventory",
            "e3:fleet-options": {"file": "hosts.yaml"},
            "e3:program": HELLO,
            "e3:overlay": "plain",
        }
    )
    gate = site.machines[0]
    own = gate.do("cat", "/etc/pip.conf")
    configure(gate, "[global]\nno-index = true\n")
    # else the other may not be begun any more once the first has failed
    ended = stack.pulumi("up --yes --skip-preview --continue-on-error")
    assert ended.exit != 0
    assert "host home-0: the party environment cannot be installed (exit status 1)" in ended.said
    made = [name.split()[1] for name in stack.resources if "InventoryHost" in name]
    assert made == ["home-1"]
    configure(gate, own)
    after = site.files()
    assert after["a-0"] == before["a-0"]
    with unreachable(site.machines[1]):
        ended = stack.pulumi("destroy --yes --skip-preview")
    assert ended.exit == 0, ended.said
    left = subprocess.run(
        [sys.executable, "-m", "e3.cli", "verify-gone", stack.name],
        cwd=stack.folder,
        env={**stack.environment, "PYTHONPATH": str(stack.folder)},
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert left.returncode == 1
    assert f"machine {machines.USER}@127.0.0.1: E3's files are still in {machines.HOME}/.e3" in (
        left.stdout.decode()
    )
    site.machines[1].do("rm", "-rf", "/run/home/pi/.e3")
    (stack.sessions.parent / "left-behind").unlink()
    assert site.files() == before


def configure(machine: Machine, text: str) -> None:
    """Write another configuration of pip to the same file for a while."""
    machine.do("sh", "-c", 'printf %s "$0" > /etc/pip.conf', text)


@contextmanager
def unreachable(machine: Machine) -> Iterator[None]:
    """Stop SSH on a machine for a while."""
    machine.prefix = ("false",)
    yield
    machine.prefix = ()
