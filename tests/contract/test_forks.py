"""One program that is loaded here once and runs on many hosts of a lab."""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from e3.access.forks import GRACE_SECONDS, Pipes, Template, loaded
from e3.access.namespace import NamespaceAccess
from e3.errors import HostError
from tests.commands import ROOT
from tests.labs import KINDS, running

pytestmark = pytest.mark.contract

NAMES = ("a-0", "a-1", "a-2")
SERVE = (
    "import sys; sys.path[:0] = [sys.argv[1]]; from e3.remote.fork_server import serve\n"
    "def run():\n"
    "    import os, socket, subprocess\n"
    f"    links = [os.readlink('/proc/self/ns/' + kind) for kind in {KINDS!r}]\n"
    "    print(socket.gethostname(), os.getcwd(), *links, flush=True)\n"
    "    assert subprocess.run(['false']).returncode == 1\n"
    "    for line in sys.stdin: exec(line)\n"
    "serve(int(sys.argv[2]), run)"
)
ARGV = [sys.executable, "-I", "-S", "-c", SERVE, str(ROOT)]
SECONDS = 20.0


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[NamespaceAccess]]:
    with running(tmp_path_factory.mktemp("forks") / "lab", regions=["a"]) as lab:
        yield [handle.access for handle in lab.add_hosts([(name, "a") for name in NAMES])]


async def said(pipes: Pipes) -> str:
    async with asyncio.timeout(SECONDS):
        return (await pipes.stdout.readline()).decode().strip()


async def running_on(access: NamespaceAccess) -> str:
    done = await access.run(["pgrep", "-cf", "fork_server"], timeout_seconds=SECONDS)
    return done.stdout.decode().strip()


async def gone(access: NamespaceAccess) -> None:
    """Return once nothing runs there any more: what was killed takes a moment to end."""
    async with asyncio.timeout(SECONDS):
        while await running_on(access) != "0":  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


def test_it_runs_in_the_namespaces_of_each_host(hosts: Sequence[NamespaceAccess]) -> None:
    async def one(template: Template, access: NamespaceAccess, name: str) -> None:
        kinds = " ".join(f"/proc/self/ns/{kind}" for kind in KINDS)
        known = await access.run(["sh", "-c", f"readlink {kinds}"], timeout_seconds=SECONDS)
        async with template.on(access) as pipes:
            assert await said(pipes) == " ".join([name, "/", *known.stdout.decode().split()])
            assert await running_on(access) == "1"

    async def each() -> None:
        async with loaded(ARGV) as template, asyncio.TaskGroup() as group:
            for access, name in zip(hosts, NAMES, strict=True):
                group.create_task(one(template, access, name))
        for access in hosts:
            await gone(access)

    asyncio.run(each())


def test_what_it_says_as_it_fails_is_heard(hosts: Sequence[NamespaceAccess]) -> None:
    async def fail() -> str:
        async with loaded(ARGV) as template, template.on(hosts[0]) as pipes:
            await said(pipes)
            pipes.stdin.write(b"raise ValueError('a reason')\n")
            return (await pipes.stdout.read()).decode()

    assert asyncio.run(fail()).splitlines()[-1] == "ValueError: a reason"


@pytest.mark.parametrize("cancelled", [False, True])
def test_one_that_does_not_end_is_killed(
    hosts: Sequence[NamespaceAccess], *, cancelled: bool
) -> None:
    async def stay(begun: asyncio.Event) -> None:
        async with loaded(ARGV) as template, template.on(hosts[0]) as pipes:
            await said(pipes)
            pipes.stdin.write(b"import os, signal; os.kill(os.getpid(), signal.SIGSTOP)\n")
            pipes.stdin.write(b" " * 200_000)  # more than a pipe takes
            begun.set()
            if cancelled:
                await asyncio.sleep(SECONDS)

    async def end() -> float:
        begun = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(stay(begun))
            await begun.wait()
            if cancelled:
                task.cancel()
            started = time.monotonic()
        took = time.monotonic() - started
        await gone(hosts[0])
        return took

    assert asyncio.run(end()) < GRACE_SECONDS + SECONDS / 2


def test_a_program_that_cannot_be_loaded_is_told(hosts: Sequence[NamespaceAccess]) -> None:
    async def load() -> None:
        argv = [sys.executable, "-I", "-S", "-c", "raise SystemExit(1)"]
        async with loaded(argv) as template, template.on(hosts[0]):
            pass

    with pytest.raises(HostError, match="has ended"):
        asyncio.run(load())


def test_a_host_that_is_gone_is_told(hosts: Sequence[NamespaceAccess]) -> None:
    async def enter() -> None:
        gone = NamespaceAccess(
            host="a-0", pid=hosts[0].pid, started=hosts[0].started + 1, boot=hosts[0].boot
        )
        async with loaded(ARGV) as template, template.on(gone):
            pass

    with pytest.raises(HostError, match="host a-0 is gone"):
        asyncio.run(enter())
