"""A lab's hosts: what tests/contract/test_access.py does not ask of every access."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.access.namespace import NamespaceAccess
from e3.errors import HostError
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
    """Return the command lines of all processes that run.

    One that is ending has none, so that its name stands in brackets; then it waits as a zombie for
    the host's first process.
    """
    listed = (await access.run(["ps", "-eo", "args"], timeout_seconds=60)).stdout.decode()
    return "\n".join(line for line in listed.splitlines() if not line.startswith("["))


async def text(access: NamespaceAccess, path: str) -> str:
    return (await access.get([path], timeout_seconds=60))[path].decode()


async def wait_for_text(access: NamespaceAccess, path: str, part: str) -> str:
    """Return the content of ``path`` once it holds ``part``."""
    async with asyncio.timeout(60):
        while part not in (content := await text(access, path)):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
    return content


def test_files_are_put_once_with_mode_and_owner(access: NamespaceAccess) -> None:
    files = [
        File(path="/run/e3/deep/a", content=b"1", mode=0o600),
        File(path="/var/lib/b", content=bytes(range(256)) * 5000, owner="nobody"),
    ]
    both = frozenset({"/run/e3/deep/a", "/var/lib/b"})

    async def go() -> None:
        assert await access.put(files, timeout_seconds=60) == both
        assert await access.put(files, timeout_seconds=60) == frozenset()
        stat = ["stat", "-c", "%a %U", *sorted(both)]
        said = (await access.run(stat, timeout_seconds=60)).stdout
        assert said == b"600 root\n644 nobody\n"
        got = await access.get([*both, "/run/none", "/run/e3/deep/a/b"], timeout_seconds=60)
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
                await access.put([File(path=path, content=b"", owner=owner)], timeout_seconds=60)

    asyncio.run(go())


def test_a_link_on_the_host_does_not_lead_to_this_machine(
    access: NamespaceAccess, tmp_path: Path
) -> None:
    async def go() -> None:
        await access.run(["ln", "-s", str(tmp_path), "/run/out"], timeout_seconds=60)
        with pytest.raises(HostError, match="No such file"):
            await access.put([File(path="/run/out/f", content=b"")], timeout_seconds=60)
        assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - one empty folder
        await access.put([File(path="/var/run/through", content=b"x")], timeout_seconds=60)
        assert await text(access, "/run/through") == "x"

    asyncio.run(go())


def test_a_service_runs_reloads_restarts_and_stops(access: NamespaceAccess) -> None:
    log = "/var/log/clerk/current"

    async def start(service: Service) -> str:
        await access.start(service, timeout_seconds=60)
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
        await access.stop("clerk", timeout_seconds=60)
        await access.stop("clerk", timeout_seconds=60)
        listed = await access.run(["ls", "/run/service"], timeout_seconds=60)
        assert listed.stdout == b""
        assert "s6-supervise" not in await processes(access)

    asyncio.run(asyncio.wait_for(go(), 60))


def test_a_service_that_died_earlier_is_started_again(access: NamespaceAccess) -> None:
    async def go() -> None:
        service = Service(name="once", argv=["sleep", "4713"])
        await access.start(service, timeout_seconds=60)
        await access.run(["pkill", "-f", "^sleep 4713"], timeout_seconds=60)
        up = ["s6-svstat", "-o", "up", "/run/service/once"]
        while (await access.run(up, timeout_seconds=60)).stdout == b"true\n":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        # its supervisor waits a second before it starts a service again
        await access.start(service, timeout_seconds=60)
        assert "sleep 4713" in await processes(access)
        await access.stop("once", timeout_seconds=60)

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
