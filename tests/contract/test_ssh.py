"""What SSH alone can meet: keys that do not fit, machines that are away, a cut, a way through."""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e3.access.ssh import SshAccess
from e3.errors import HostError
from e3.interfaces import File, Service
from e3.lab.client import Lab
from e3.lab.host import SSH_FOLDER
from e3.lab.ssh import CLIENT_KEY, KNOWN_HOSTS
from tests import machines
from tests.labs import running
from tests.machines import Machine
from tests.stack import processes_below

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")

SOON_SECONDS = 60.0
CANARY = "canary-in-a-file"
DAEMON = "trap '' HUP TERM; (setsid sleep 4721 &) ; echo up; sleep 4722"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("ssh"), regions=["a"]) as made:
        machines.keys(made.folder)
        yield made


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    inside = lab.add_host("a-0", "a").access
    machines.add_user(inside, lab.folder, sudo=False)
    with machines.opened(inside) as made:
        yield made


@pytest.fixture
def access(machine: Machine, lab: Lab) -> SshAccess:
    return machines.access(machine, lab.folder, "root")


def make_key(folder: Path) -> Path:
    path = folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def attempt(access: SshAccess) -> None:
    asyncio.run(access.run(["true"], timeout_seconds=SOON_SECONDS))


def test_another_host_key_is_refused(access: SshAccess, tmp_path: Path) -> None:
    other = Path(f"{make_key(tmp_path)}.pub").read_text()
    with pytest.raises(HostError, match=r"does not have the host key that is pinned \(SHA256:"):
        attempt(replace(access, host_key=other))


def test_a_refused_key_names_user_and_key(access: SshAccess, tmp_path: Path) -> None:
    other = make_key(tmp_path)
    with pytest.raises(HostError, match=rf"refuses to let user root in with the key {other}"):
        attempt(replace(access, key=str(other)))
    with pytest.raises(HostError, match="host a-0: cannot read /nowhere/key: No such file"):
        attempt(replace(access, key="/nowhere/key"))


def test_a_machine_that_is_away_is_named(access: SshAccess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = replace(access, port=silent.getsockname()[1])
        with pytest.raises(TimeoutError, match=r"true on host a-0 took longer than 0\.5 s"):
            asyncio.run(mute.run(["true"], timeout_seconds=0.5))
    with pytest.raises(HostError, match=rf"cannot be reached at 127.0.0.1 port {mute.port}"):
        attempt(mute)


def test_a_host_without_python_or_sudo_says_so(access: SshAccess) -> None:
    with pytest.raises(HostError, match="a-0 has no program python2000; install Python"):
        attempt(replace(access, python="python2000"))
    with pytest.raises(HostError, match=r"sudo|become root without a password"):
        attempt(replace(access, user="pi", sudo=True))


def test_one_connection_serves_all_and_ends_with_the_loop(
    machine: Machine, access: SshAccess
) -> None:
    machine.cut()

    async def go() -> None:
        for _ in range(3):
            await access.run(["true"], timeout_seconds=SOON_SECONDS)
        assert len(machine.served) == 1
        many = (access.run(["sleep", "0.5"], timeout_seconds=SOON_SECONDS) for _ in range(20))
        assert {done.exit for done in await asyncio.gather(*many)} == {0}

    asyncio.run(go())
    for server in machine.served:
        server.wait(SOON_SECONDS)
    assert machine.processes() == []


def test_a_command_may_end_before_its_input_is_sent(access: SshAccess) -> None:
    async def go() -> None:
        busy = asyncio.create_task(hog())
        try:
            many = (
                access.run(["sh", "-c", "exit 3"], stdin=b"late", timeout_seconds=SOON_SECONDS)
                for _ in range(8)
            )
            assert {done.exit for done in await asyncio.gather(*many)} == {3}
        finally:
            busy.cancel()

    async def hog() -> None:
        while True:
            time.sleep(0.1)  # noqa: ASYNC251 -- as on a machine with much else to do
            await asyncio.sleep(0)

    asyncio.run(go())


def test_a_cut_ends_what_was_held_and_the_next_call_connects_anew(
    machine: Machine, access: SshAccess
) -> None:
    async def go() -> None:
        async with access.attach(["sh", "-c", DAEMON]) as process:
            assert await process.stdout.readline() == b"up\n"
            machine.cut()
            with pytest.raises(HostError, match="the connection to host a-0 was cut"):
                await process.stdout.readline()
            with pytest.raises(HostError, match="the connection to host a-0 was cut"):
                await process.wait()
        task = asyncio.create_task(access.run(["sleep", "4723"], timeout_seconds=SOON_SECONDS))
        while "sleep 4723" not in machine.processes():  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.05)
        machine.cut()
        with pytest.raises(HostError, match="the connection to host a-0 was cut"):
            await task
        assert (await access.run(["true"], timeout_seconds=SOON_SECONDS)).exit == 0

    asyncio.run(go())
    assert machine.processes() == []


@pytest.mark.parametrize("way", ["root", "user"])
def test_nothing_secret_stands_on_a_command_line(machine: Machine, lab: Lab, way: str) -> None:
    access = machines.access(machine, lab.folder, way)
    service = Service(name="keeper", argv=["sleep", "4724"], environment={"KEY": CANARY})
    secret = File(path="/run/e3/secret", content=CANARY.encode(), mode=0o600)

    async def go() -> None:
        await access.put([secret], timeout_seconds=SOON_SECONDS)
        await access.start(service, timeout_seconds=SOON_SECONDS)
        async with access.attach(["cat"]) as process:
            process.stdin.write(f"{CANARY}\n".encode())
            assert CANARY.encode() in await process.stdout.readline()
            script = access.place("/run/e3/services/keeper/run")
            mode = await access.run(["stat", "-c", "%a", script], timeout_seconds=SOON_SECONDS)
            listed = await access.run(["ps", "-eo", "args"], timeout_seconds=SOON_SECONDS)
        assert b"sleep 4724" in listed.stdout
        assert CANARY.encode() not in listed.stdout
        assert mode.stdout == b"700\n"
        await access.stop("keeper", timeout_seconds=SOON_SECONDS)

    asyncio.run(go())


def test_a_service_dies_with_its_supervisor_and_is_started_anew(
    machine: Machine, access: SshAccess
) -> None:
    service = Service(name="orphan", argv=["sleep", "4725"])

    async def go() -> None:
        await access.start(service, timeout_seconds=SOON_SECONDS)
        machine.do("pkill", "-KILL", "-f", "e3-start$")
        while "sleep 4725" in machine.processes():  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.05)
        await access.start(service, timeout_seconds=SOON_SECONDS)
        assert "sleep 4725" in machine.processes()
        await access.stop("orphan", timeout_seconds=SOON_SECONDS)

    asyncio.run(asyncio.wait_for(go(), 4 * SOON_SECONDS))
    assert machine.processes() == []


def test_without_rights_it_says_what_it_cannot_do(machine: Machine, lab: Lab) -> None:
    access = machines.access(machine, lab.folder, "user")

    async def go() -> None:
        file = File(path="/var/lib/x", content=b"")
        with pytest.raises(HostError, match=r"refuses a file: /var/lib/x: Permission denied"):
            await access.put([file], timeout_seconds=SOON_SECONDS)
        mine = File(path="/var/lib/e3/x", content=b"mine")
        assert await access.put([mine], timeout_seconds=SOON_SECONDS) == {mine.path}
        text = b"/run/e3/x /run/e3 /run/e3x /var/lib/e3/y"
        both = [File(path=f"/run/e3/{name}/a", content=text) for name in ("tor", "sessions")]
        await access.put(both, timeout_seconds=SOON_SECONDS)
        got = await access.get([file.path for file in both], timeout_seconds=SOON_SECONDS)
        own = access.own.encode()
        assert got[both[0].path] == b"%s/run/x %s/run /run/e3x %s/state/y" % (own, own, own)
        assert got[both[1].path] == text
        assert await access.put(both, timeout_seconds=SOON_SECONDS) == frozenset()
        await access.run(["rm", "-r", "/var/lib/e3", "/run/e3"], timeout_seconds=SOON_SECONDS)

    asyncio.run(go())
    assert machine.do("find", machines.HOME, "-newer", f"{machines.HOME}/.ssh", "-name", "x") == ""


@pytest.fixture
def behind(lab: Lab, machine: Machine, tmp_path: Path) -> Iterator[SshAccess]:
    """A machine whose server only the other machine reaches, and a configuration that says so."""
    handle = lab.add_host("a-1", "a")
    key, known = (lab.folder / "ssh" / name for name in (CLIENT_KEY, KNOWN_HOSTS))
    config = tmp_path / "config"
    config.write_text(
        f"Host gate\n  HostName 127.0.0.1\n  Port {machine.port}\n"
        f"Host inner\n  HostName {handle.underlay}\n  Port 2022\n  ProxyJump gate\n"
        f"Host *\n  User root\n  IdentityFile {key}\n  UserKnownHostsFile {known}\n"
    )
    sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", f"{SSH_FOLDER}/sshd_config"]
    sshd += ["-o", f"ListenAddress={handle.underlay}", "-p", "2022", "-o", "LogLevel=INFO"]
    server = subprocess.Popen([*handle.access.nsenter(), "--", *sshd], stderr=subprocess.PIPE)
    try:
        assert server.stderr is not None
        while b"listening" not in server.stderr.readline():
            assert server.poll() is None
        yield SshAccess(host="a-1", address="inner", port=0, ssh_config=str(config))
    finally:
        lab.remove_host("a-1")  # and with it the server, which is nsenter's child
        server.communicate()


def test_a_proxy_jump_of_the_users_configuration_is_taken(behind: SshAccess) -> None:
    done = asyncio.run(behind.run(["hostname"], timeout_seconds=SOON_SECONDS))
    assert done.stdout == b"a-1\n"


def test_a_proxy_command_is_taken_and_ends_with_the_connection(behind: SshAccess) -> None:
    config = Path(behind.ssh_config)
    command = f"ProxyCommand ssh -F {config} -oStrictHostKeyChecking=yes -W %h:%p gate"
    config.write_text(config.read_text().replace("ProxyJump gate", command))
    done = asyncio.run(behind.run(["hostname"], timeout_seconds=SOON_SECONDS))
    assert done.stdout == b"a-1\n"
    assert processes_below(config) == []


def test_a_configuration_cannot_switch_the_check_of_host_keys_off(behind: SshAccess) -> None:
    config = Path(behind.ssh_config)
    text = config.read_text()
    for place in ("none", "/dev/null"):
        trusting = "\n".join(
            f"  UserKnownHostsFile {place}\n  StrictHostKeyChecking no"
            if "KnownHosts" in line
            else line
            for line in text.splitlines()
        )
        config.write_text(trusting)
        with pytest.raises(HostError, match="no known_hosts file vouches for"):
            attempt(behind)
