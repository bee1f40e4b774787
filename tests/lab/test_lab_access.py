"""Commands, files and services on a lab's hosts, through the contract `e3.interfaces.Access`."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.access import NamespaceAccess
from e3.errors import HostError, ServiceError
from e3.interfaces import File, Service
from tests.labs import running

pytestmark = pytest.mark.lab

CLERK = """
import os, pathlib, signal, sys, time
count = pathlib.Path("/run/reloads")
signal.signal(signal.SIGHUP, lambda *_: count.write_text(str(int(count.read_text()) + 1)))
count.write_text("0")
print("serving", os.getpid(), os.environ.get("MOOD"), flush=True)
pathlib.Path("/run/serves").touch()
while True:
    signal.pause()
"""
DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(1000)
"""


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamespaceAccess]:
    with running(tmp_path_factory.mktemp("access"), regions=["a"]) as lab:
        yield lab.add_host("a-0", "a").access


def clerk(**changes: object) -> Service:
    values = {
        "name": "clerk",
        "argv": [sys.executable, "-c", CLERK],
        "ready": ["test", "-e", "/run/serves"],
        "revision": "1",
        **changes,
    }
    return Service(**values)  # type: ignore[arg-type]


async def processes(access: NamespaceAccess) -> str:
    """Return the command lines of all processes that run; zombies wait for the host's first."""
    listed = (await access.run(["ps", "-eo", "args"], timeout_seconds=5)).stdout.decode()
    return "\n".join(line for line in listed.splitlines() if "<defunct>" not in line)


async def text(access: NamespaceAccess, path: str) -> str:
    return (await access.get([path], timeout_seconds=5))[path].decode()


async def wait_for_text(access: NamespaceAccess, path: str, part: str) -> str:
    """Return the content of ``path`` once it holds ``part``."""
    async with asyncio.timeout(10):
        while part not in (content := await text(access, path)):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
    return content


def test_a_command_gives_its_status_and_both_outputs(access: NamespaceAccess) -> None:
    async def go() -> None:
        shell = ["sh", "-c", "cat; echo aside >&2; exit 3"]
        done = await access.run(shell, stdin=b"in", timeout_seconds=5)
        assert (done.exit, done.stdout, done.stderr) == (3, b"in", b"aside\n")
        killed = await access.run(["sh", "-c", "kill -9 $$"], timeout_seconds=5)
        assert killed.exit == -signal.SIGKILL
        assert (await access.run(["no-such-program"], timeout_seconds=5)).exit == 127

    asyncio.run(go())


def test_a_command_gets_nothing_of_our_environment(
    access: NamespaceAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "1")
    done = asyncio.run(access.run(["env"], timeout_seconds=5))
    names = {line.partition(b"=")[0] for line in done.stdout.splitlines()}
    assert names == {b"HOME", b"PATH", b"LANG"}


def test_a_command_that_takes_too_long_is_killed(access: NamespaceAccess) -> None:
    async def go() -> None:
        with pytest.raises(TimeoutError, match=r"sh on host a-0 took longer than 0\.2 s"):
            await access.run(["sh", "-c", "sleep 4711 & sleep 4712"], timeout_seconds=0.2)
        assert "sleep 471" not in await processes(access)

    asyncio.run(go())


def test_files_are_put_once_with_mode_and_owner(access: NamespaceAccess) -> None:
    files = [
        File(path="/run/e3/deep/a", content=b"1", mode=0o600),
        File(path="/var/lib/b", content=bytes(range(256)) * 5000, owner="nobody"),
    ]
    both = frozenset({"/run/e3/deep/a", "/var/lib/b"})

    async def go() -> None:
        assert await access.put(files, timeout_seconds=5) == both
        assert await access.put(files, timeout_seconds=5) == frozenset()
        stat = ["stat", "-c", "%a %U", *sorted(both)]
        said = (await access.run(stat, timeout_seconds=5)).stdout
        assert said == b"600 root\n644 nobody\n"
        got = await access.get([*both, "/run/none", "/run/e3/deep/a/b"], timeout_seconds=5)
        assert got == {file.path: file.content for file in files}

    asyncio.run(go())


def test_files_that_cannot_be_put_say_why(access: NamespaceAccess) -> None:
    async def go() -> None:
        for path, owner, said in (
            ("/etc/x", "root", "Read-only file system"),
            ("/run/service", "root", "directory"),
            ("/run/x", "zorro", "has no user 'zorro'"),
        ):
            with pytest.raises(HostError, match=said):
                await access.put([File(path=path, content=b"", owner=owner)], timeout_seconds=5)

    asyncio.run(go())


def test_a_link_on_the_host_does_not_lead_to_this_machine(
    access: NamespaceAccess, tmp_path: Path
) -> None:
    async def go() -> None:
        await access.run(["ln", "-s", str(tmp_path), "/run/out"], timeout_seconds=5)
        with pytest.raises(HostError, match="No such file"):
            await access.put([File(path="/run/out/f", content=b"")], timeout_seconds=5)
        assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - one empty folder
        await access.put([File(path="/var/run/through", content=b"x")], timeout_seconds=5)
        assert await text(access, "/run/through") == "x"

    asyncio.run(go())


def test_a_service_runs_reloads_restarts_and_stops(access: NamespaceAccess) -> None:
    log = "/var/log/clerk/current"

    async def start(service: Service) -> str:
        await access.start(service, timeout_seconds=10)
        return await wait_for_text(access, log, "serving")

    async def go() -> None:
        first = await start(clerk(reload_signal="HUP"))
        assert await start(clerk(reload_signal="HUP")) == first
        assert await start(clerk(reload_signal="HUP", revision="2")) == first
        assert await wait_for_text(access, "/run/reloads", "1")
        assert await start(clerk(reload_signal="HUP", revision="2")) == first
        assert await text(access, "/run/reloads") == "1"
        await start(clerk(revision="3"))
        assert (await wait_for_text(access, log, "None\nserving")).count("serving") == 2
        await start(clerk(revision="3", environment={"MOOD": "it's $HOME"}))
        assert (await wait_for_text(access, log, "it's $HOME")).count("serving") == 3
        assert "it's $HOME" not in await processes(access)
        await access.stop("clerk", timeout_seconds=10)
        await access.stop("clerk", timeout_seconds=10)
        listed = await access.run(["ls", "/run/service"], timeout_seconds=5)
        assert listed.stdout == b""
        assert "s6-supervise" not in await processes(access)

    asyncio.run(asyncio.wait_for(go(), 60))


def test_a_service_that_dies_is_reported_at_once_with_its_last_lines(
    access: NamespaceAccess,
) -> None:
    doomed = Service(
        name="doomed",
        argv=["sh", "-c", "for i in $(seq 30); do echo line $i; done; exit 7"],
        ready=["false"],
    )

    async def go() -> None:
        begun = time.monotonic()
        with pytest.raises(ServiceError, match=r"doomed on host a-0 died.*exitcode 7") as caught:
            await access.start(doomed, timeout_seconds=30)
        assert time.monotonic() - begun < 10
        assert "line 30" in str(caught.value)
        assert "line 10\n" not in str(caught.value)
        await access.stop("doomed", timeout_seconds=10)

    asyncio.run(go())


def test_a_service_that_died_earlier_is_started_again(access: NamespaceAccess) -> None:
    async def go() -> None:
        service = Service(name="once", argv=["sleep", "4713"])
        await access.start(service, timeout_seconds=10)
        await access.run(["pkill", "-f", "^sleep 4713"], timeout_seconds=5)
        up = ["s6-svstat", "-o", "up", "/run/service/once"]
        while (await access.run(up, timeout_seconds=5)).stdout == b"true\n":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        # its supervisor waits a second before it starts a service again
        await access.start(service, timeout_seconds=10)
        assert "sleep 4713" in await processes(access)
        await access.stop("once", timeout_seconds=10)

    asyncio.run(go())


def test_a_service_that_is_never_ready_runs_into_the_limit(access: NamespaceAccess) -> None:
    async def go() -> None:
        never = Service(name="never", argv=["sleep", "1000"], ready=["false"])
        with pytest.raises(TimeoutError, match=r"never on host a-0 is not ready after 0\.5 s"):
            await access.start(never, timeout_seconds=0.5)
        await access.stop("never", timeout_seconds=10)

    asyncio.run(go())


def test_a_service_that_ignores_its_end_and_has_children_is_gone_after_stop(
    access: NamespaceAccess,
) -> None:
    stubborn = "trap '' TERM; sleep 4714 & touch /run/stubborn; while :; do wait; done"

    async def go() -> None:
        service = Service(
            name="stubborn", argv=["sh", "-c", stubborn], ready=["test", "-e", "/run/stubborn"]
        )
        await access.start(service, timeout_seconds=10)
        await access.stop("stubborn", timeout_seconds=20)
        assert "4714" not in await processes(access)

    asyncio.run(go())


def test_an_attached_command_talks_and_ends_with_its_input(access: NamespaceAccess) -> None:
    async def go() -> None:
        async with access.attach(["sh", "-c", "cat; echo aside >&2; exit 4"]) as process:
            process.stdin.write(b"hello\n")
            await process.stdin.drain()
            assert await process.stdout.readline() == b"hello\n"
            process.stdin.close()
            assert await process.stdout.readline() == b"aside\n"
            assert await process.stdout.readline() == b""
            assert await process.wait() == 4
        async with access.attach(["sh", "-c", "kill -9 $$"]) as process:
            assert await process.wait() == -signal.SIGKILL
        async with access.attach(["no-such-program"]) as process:
            assert b"no-such-program" in await process.stdout.readline()
            assert await process.wait() == 127

    asyncio.run(go())


def test_nothing_of_an_attached_command_survives(access: NamespaceAccess) -> None:
    async def go() -> None:
        before = await processes(access)
        async with access.attach([sys.executable, "-c", DAEMON]) as process:
            assert await process.stdout.readline() == b"up\n"
        assert await processes(access) == before
        with pytest.raises(RuntimeError, match="ours"):
            async with access.attach(["sh", "-c", "yes & yes"]):
                raise RuntimeError("ours")
        assert await processes(access) == before

    asyncio.run(go())


def test_a_command_may_be_left_while_another_task_reads_its_output(
    access: NamespaceAccess,
) -> None:
    async def go() -> None:
        before = await processes(access)
        async with access.attach(["sh", "-c", "trap '' HUP; sleep 1000 < /dev/null"]) as process:
            reader = asyncio.create_task(process.stdout.readline())
            await asyncio.sleep(0)
        assert await reader == b""
        assert await processes(access) == before

    asyncio.run(asyncio.wait_for(go(), 30))


def test_a_cancelled_command_leaves_nothing(access: NamespaceAccess) -> None:
    async def go() -> None:
        before = await processes(access)

        async def hold() -> None:
            async with access.attach(["sleep", "1000"]) as process:
                await process.wait()

        tasks = [
            asyncio.create_task(hold()),
            asyncio.create_task(access.run(["sleep", "1000"], timeout_seconds=1000)),
        ]
        while (await processes(access)).count("sleep 1000") < 2:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await processes(access) == before

    asyncio.run(asyncio.wait_for(go(), 30))
