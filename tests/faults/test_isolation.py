"""What a program can use of its host, network and kernel, and that all of it is removed."""

import asyncio
import ctypes
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from e3.overlays.plain import Plain
from e3.party.protocol import RUNNER
from e3.session.verdicts import Verdict
from tests.faults.stage import Stage, all_print
from tests.faults.test_containment import lines
from tests.labs import running
from tests.overlays import Mesh, ask

NAMES = ("ams3-0", "ams3-1", "ams3-2")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("lab")
    with running(folder, {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Plain())
        mesh.add(*NAMES)
        mesh.connect(*NAMES)
        yield mesh


@pytest.fixture
def stage(mesh: Mesh, tmp_path: Path) -> Stage:
    return Stage(tmp_path, mesh.lab, list(mesh.hosts), mesh.joined.addresses, "plain")


def test_a_program_has_no_shared_memory_of_others(stage: Stage) -> None:
    said = lines(
        stage,
        """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
small = libc.shmget(0, 1 << 20, 0o1666)
print('first:', small)
print('queue:', libc.msgget(0, 0o1666) >= 0)
if libc.shmget(0, 300 << 20, 0o1666) < 0:
    print('large:', errno.errorcode[ctypes.get_errno()])
print('posix:', ctypes.CDLL('librt.so.1').mq_open(b'/left', 0o102, 0o666, None) >= 0)
""",
    )
    assert said == {"first": "0", "queue": "True", "large": "ENOSPC", "posix": "True"}
    for host in stage.hosts:
        left = ask(host, "ipcs", "--shmems", "--queues")
        assert not [line for line in left.splitlines() if line.startswith("0x")]


def test_a_program_makes_no_namespace_and_speaks_to_no_other_machine(stage: Stage) -> None:
    said = lines(
        stage,
        """
import ctypes, errno, os, socket, subprocess
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    ctypes.set_errno(0)
    getattr(libc, name)(*arguments)
    return errno.errorcode.get(ctypes.get_errno(), 'done')

for flag in (0x00020000, 0x10000000, 0x40000000):
    print(f'unshare {flag:x}:', call('unshare', flag))
print('mount:', call('mount', b'x', b'/tmp', b'tmpfs', 0, None))
for name in ('VSOCK', 'PACKET', 'ALG', 'BLUETOOTH', 'CAN'):
    try:
        socket.socket(getattr(socket, f'AF_{name}'), socket.SOCK_STREAM)
        print(f'{name}: open')
    except OSError as error:
        print(f'{name}:', errno.errorcode[error.errno])
tried = subprocess.run(['unshare', '-Urmn', 'true'], capture_output=True)
print('child:', tried.returncode != 0)
print('interfaces:', 'lo' in [name for _, name in socket.if_nameindex()])
""",
    )
    families = dict.fromkeys(("VSOCK", "PACKET", "ALG", "BLUETOOTH", "CAN"), "EAFNOSUPPORT")
    assert said == {
        "unshare 20000": "EPERM",
        "unshare 10000000": "EPERM",
        "unshare 40000000": "EPERM",
        "mount": "EPERM",
        **families,
        "child": "True",
        "interfaces": "True",
    }


REACH = """
import socket

def reach(address, port, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as end:
        end.settimeout(3)
        try:
            end.connect((address, port))
            end.send(b'x')
            return 'reached'
        except OSError as error:
            return type(error).__name__
"""

SERVICE = """
import socket
server = socket.create_server(("0.0.0.0", 2200))
print(flush=True)
while True:
    server.accept()
"""


async def run_beside(stage: Stage, service: str, program: str) -> dict[str, str]:
    """Run a program while two hosts have a service."""
    for host in stage.hosts:
        await asyncio.to_thread(ask, host, "mkdir", "-p", "/run/e3/sessions")
    async with AsyncExitStack() as stack:
        for host in stage.hosts[:2]:
            argv = [host.python, "-I", "-c", service]
            process = await stack.enter_async_context(host.access.attach(argv))
            assert await process.stdout.readline() == b"\n"
        stage.known = frozenset(await asyncio.to_thread(stage.leftovers))
        return await asyncio.to_thread(lines, stage, program)


def test_a_program_reaches_its_peers_alone(stage: Stage) -> None:
    peer = stage.hosts[0]
    program = f"""{REACH}
import asyncio

async def serve():
    async def answer(reader, writer):
        writer.write(await reader.read(1))
        writer.close()
    server = await asyncio.start_server(answer, '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b'y')
    return await reader.read()

print('own:', asyncio.run(serve()).decode())
print('underlay:', reach({peer.underlay!r}, 2200))
print('other port:', reach({stage.addresses[peer.name]!r}, 2200))
print('service:', reach('127.0.0.1', 2200))
print('datagram:', reach({peer.underlay!r}, 53, socket.SOCK_DGRAM))
"""
    said = {}
    for network in ("peers", "open"):
        stage.rules = replace(stage.rules, network=network)
        said[network] = asyncio.run(run_beside(stage, SERVICE, program))
    assert said["peers"] == {
        "own": "y",
        "underlay": "ConnectionRefusedError",
        "other port": "ConnectionRefusedError",
        "service": "ConnectionRefusedError",
        "datagram": "PermissionError",
    }
    assert set(said["open"].values()) == {"y", "reached"}
    assert not any(ask(host, "nft", "list", "ruleset") for host in stage.hosts)


def test_a_program_sees_nothing_else_of_the_machine(stage: Stage) -> None:
    said = lines(
        stage,
        """
import os
print('root:', ' '.join(sorted(os.listdir('/'))))
private = ('machine-id', 'shadow', 'hostname', 'ssh')
print('etc:', [name for name in private if os.path.exists(f'/etc/{name}')])
seen = [name for name in os.listdir('/proc') if name.isdigit()]
print('processes:', {os.stat(f'/proc/{name}').st_uid for name in seen} == {os.getuid()})
print('hosts:', 'localhost' in open('/etc/hosts').read())
try:
    open('/usr/x', 'w')
except OSError as error:
    print('usr:', error.strerror)
""",
    )
    roots = set(said.pop("root").split())
    assert roots <= {
        *("bin", "dev", "etc", "gnu", "lib", "lib32", "lib64", "libx32", "nix", "proc", "run"),
        *("sbin", "sys", "tmp", "usr", "var", Path(__file__).parts[1]),
    }
    assert said == {
        "etc": "[]",
        "processes": "True",
        "hosts": "True",
        "usr": "Read-only file system",
    }


def test_all_that_a_program_writes_is_bounded_and_goes_with_it(stage: Stage) -> None:
    stage.rules = replace(stage.rules, limits=replace(stage.rules.limits, files_mb=20))
    said = lines(
        stage,
        """
import os
written = 0
try:
    for number in range(100):
        place = ('.', '/tmp', '/dev/shm', '/var/tmp')[number % 4]
        with open(f'{place}/{number}', 'wb') as file:
            for _ in range(5):
                written += file.write(bytes(1 << 20))
                file.flush()
except OSError as error:
    print('disk:', error.strerror, 15 <= written >> 20 <= 20)
made = 0
try:
    for made in range(100_000):
        os.mkdir('d')
        os.chdir('d')
except OSError as error:
    print('folders:', error.strerror, made < 20_000)
""",
    )
    assert said == {
        "disk": "No space left on device True",
        "folders": "No space left on device True",
    }
    assert stage.leftovers() == []


WORKS = """
import multiprocessing, os, pwd, subprocess, sys, tempfile, threading
import gmpy2
import numpy
from concurrent.futures import ProcessPoolExecutor

def square(number):
    return number ** 2

if __name__ == '__main__':
    print('numpy:', (numpy.eye(3) @ numpy.ones(3)).sum())
    print('gmpy2:', gmpy2.invert(3, 7))
    for method in ('fork', 'spawn', 'forkserver'):
        with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
            print(f'{method}:', list(pool.map(square, range(3))))
    thread = threading.Thread(target=print, args=('thread: 1',))
    thread.start()
    thread.join()
    python = [sys.executable, '-c', 'print(2)']
    for name, argv in {'python': python, 'shell': ['sh', '-c', 'echo a | cat']}.items():
        print(f'{name}:', subprocess.run(argv, capture_output=True, text=True).stdout.strip())
    print('cores:', os.cpu_count() > 0)
    print('name:', pwd.getpwuid(os.getuid()).pw_name)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b'x')
    import pty
    os.openpty()
    from mpyc.runtime import mpc
    mpc.run(mpc.start())
    mpc.run(mpc.shutdown())
"""


def test_honest_programs_notice_nothing(stage: Stage) -> None:
    squares = str([0, 1, 4])
    assert lines(stage, WORKS) == {
        "numpy": "3.0",
        "gmpy2": "5",
        **dict.fromkeys(("fork", "spawn", "forkserver"), squares),
        "thread": "1",
        "python": "2",
        "shell": "a",
        "cores": "True",
        "name": "party",
    }


def test_a_full_disk_is_told_and_nothing_stays(stage: Stage) -> None:
    host = stage.hosts[1]
    fill = "mkdir -p /run/e3/sessions; head -c 1G /dev/zero > /run/fill; df --output=avail /run"
    try:
        assert ask(host, "sh", "-c", f"{fill} 2>/dev/null || true").split()[-1] == "0"
        result = stage.run("from mpyc.runtime import mpc\nmpc.run(mpc.start())\n")
    finally:
        ask(host, "rm", "-f", "/run/fill")
    assert result.verdict is Verdict.PARTY_FAILED
    assert "did not start: the disk of its host is full: host ams3-1 refuses" in result.reason
    assert "/run/e3/sessions/" in result.reason
    assert "No space left on device" in result.reason
    assert result.concerned == (1,)
    assert stage.leftovers() == []


def test_what_a_program_leaves_behind_costs_the_next_session_nothing(stage: Stage) -> None:
    free = [ask(host, "df", "--output=avail", "/run") for host in stage.hosts]
    result = stage.run(
        """
import os
from mpyc.runtime import mpc
mpc.run(mpc.start())
for _ in range(1500):
    os.mkdir('d')
    os.chdir('d')
try:
    with open('large', 'wb') as file:
        while True:
            file.write(bytes(1 << 20))
except OSError as error:
    print(error.strerror)
mpc.run(mpc.shutdown())
"""
    )
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert {party.output for party in result.parties} <= {
        "File too large\n",
        "No space left on device\n",
    }
    assert [ask(host, "df", "--output=avail", "/run") for host in stage.hosts] == free
    assert stage.run("from mpyc.runtime import mpc\n").verdict is Verdict.COMPLETED


def scoped() -> bool:
    """Return whether this kernel has Landlock's scopes."""
    version: int = ctypes.CDLL(None).syscall(444, None, 0, 1)
    return version >= 6


ABSTRACT = """
import socket
server = socket.socket(socket.AF_UNIX)
server.bind("\\0e3-test")
server.listen()
print(flush=True)
server.accept()
"""


@pytest.mark.skipif(not scoped(), reason="Linux before 6.12")
def test_abstract_sockets_of_the_host_are_out_of_reach(stage: Stage) -> None:
    program = """
import os, signal, socket, subprocess
end = socket.socket(socket.AF_UNIX)
try:
    end.connect('\\0e3-test')
except OSError as error:
    print('host:', type(error).__name__)
own = socket.socket(socket.AF_UNIX)
own.bind('\\0own')
own.listen()
end.connect('\\0own')
child = subprocess.Popen(['sleep', '100'])
child.terminate()
print('own:', child.wait())
try:
    os.kill(os.getppid(), signal.SIGTERM)
except OSError as error:
    print('runner:', type(error).__name__)
"""
    said = asyncio.run(run_beside(stage, ABSTRACT, program))
    assert said == {"host": "PermissionError", "own": "-15", "runner": "PermissionError"}


def test_a_folder_that_stays_is_told(stage: Stage) -> None:
    host = stage.hosts[1]

    def hold() -> None:
        """Prevent the host from removing a part of the session's folder."""
        (folder,) = ask(
            host, "find", "/run/e3/sessions", "-mindepth", "1", "-maxdepth", "1"
        ).split()
        ask(host, "chattr", "+i", f"{folder}/{RUNNER}")
        stage.known = frozenset({folder, f"{folder}/{RUNNER}"})

    program = """
import time
from mpyc.runtime import mpc
mpc.run(mpc.start())
print('here', flush=True)
time.sleep(2)
mpc.run(mpc.shutdown())
"""
    result = stage.run(program, when=all_print("here"), then=hold)
    (folder, *_) = sorted(stage.known)
    ask(host, "sh", "-c", f"chattr -i {folder}/{RUNNER} && rm -r {folder}")
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert f"[e3: its folder stays, see `e3 doctor`: {folder}: rm: " in stage.log(result, 1)
