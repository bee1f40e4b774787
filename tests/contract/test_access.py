"""What every access must fulfil, whenever it is cancelled; the rest is in tests/lab."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from e3.access import ACCESSES
from e3.errors import HostError, ServiceError
from e3.interfaces import Access, File, Service
from e3.lab.client import Lab
from tests import machines
from tests.labs import running

SLEEP = ["sleep", "1000"]
SOON_SECONDS = 60.0
MOMENTS_MS = [0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50]
WAYS: Mapping[str, Sequence[str]] = {
    "namespace": ["namespace"],
    "ssh": [f"ssh-{way}" for way in machines.ACCESSES],
}
"""How a lab's hosts are reached by each registered access."""


@contextmanager
def made(way: str, lab: Lab) -> Iterator[Access]:
    """Give access to a new host of the lab."""
    inside = lab.add_host("a-0", "a").access
    kind, _, login = way.partition("-")
    if kind == "namespace":
        yield inside
        return
    if os.geteuid() != 0 or (login == "sudo" and shutil.which("sudo") is None):
        pytest.skip("SSH needs a lab of root's, and sudo where that is used")
    machines.keys(lab.folder)
    machines.add_user(inside, lab.folder, sudo=login == "sudo")
    with machines.opened(inside) as machine:
        yield machines.access(machine, lab.folder, login)


def test_each_access_is_tested() -> None:
    assert set(WAYS) == set(ACCESSES)


@pytest.fixture(scope="module", params=[way for ways in WAYS.values() for way in ways])
def access(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Access]:
    with (
        running(tmp_path_factory.mktemp("access"), regions=["a"]) as lab,
        made(request.param, lab) as access,
    ):
        yield access


async def cancelled(work: "asyncio.Task[None]", after_ms: float, steps: int) -> None:
    """Cancel a task after a while, and assert that it ends."""
    await asyncio.sleep(after_ms / 1000)
    for _ in range(steps):
        await asyncio.sleep(0)
    work.cancel()
    done, _ = await asyncio.wait([work], timeout=SOON_SECONDS)
    assert done, f"it goes on, cancelled after {after_ms} ms"
    assert work.cancelled()


async def until_gone(access: Access, command: str) -> None:
    """Return once the host runs no such command; zombies are about to be reaped."""
    async with asyncio.timeout(SOON_SECONDS):
        listing = ["ps", "-C", command, "-o", "stat=,pid="]
        while listed := (await access.run(listing, timeout_seconds=60)).stdout.decode():
            if all(line.startswith("Z") for line in listed.splitlines()):
                return
            await asyncio.sleep(0.05)


def test_a_command_ends_whenever_it_is_cancelled(access: Access) -> None:
    async def sleep() -> None:
        await access.run(SLEEP, timeout_seconds=100)

    async def trial() -> None:
        for step, moment in enumerate(MOMENTS_MS):
            await cancelled(asyncio.create_task(sleep()), moment, step)
        await until_gone(access, "sleep")

    asyncio.run(trial())


def test_an_attached_command_ends_whenever_it_is_cancelled(access: Access) -> None:
    async def sleep() -> None:
        async with access.attach(SLEEP) as process:
            await process.wait()

    async def trial() -> None:
        together = (
            cancelled(asyncio.create_task(sleep()), moment, step)
            for step, moment in enumerate(MOMENTS_MS)
        )
        await asyncio.gather(*together)
        await until_gone(access, "sleep")

    asyncio.run(trial())


def test_a_file_is_put_whole_or_not_at_all(access: Access) -> None:
    big = File(path="/run/e3/big", content=b"x" * 5_000_000)

    async def put() -> None:
        await access.put([big], timeout_seconds=60)

    async def trial() -> None:
        task = asyncio.create_task(put())
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task], timeout=SOON_SECONDS)
        found = await access.get([big.path], timeout_seconds=60)
        assert found.get(big.path) in (None, big.content)

    asyncio.run(trial())


async def processes(access: Access) -> list[str]:
    """Return the commands of the host that the tests here start, zombies apart."""
    listed = await access.run(["ps", "-eo", "stat=,args="], timeout_seconds=60)
    rows = [line.split(None, 1) for line in listed.stdout.decode().splitlines()]
    mine = ("sleep", sys.executable, "sh -c trap")
    return [args for state, args in rows if state[0] != "Z" and args.startswith(mine)]


async def text_of(access: Access, path: str, part: str) -> str:
    """Return the content of a file once it holds ``part``."""
    async with asyncio.timeout(SOON_SECONDS):
        while part not in (  # noqa: ASYNC110 -- another process
            got := (await access.get([path], timeout_seconds=60)).get(path, b"").decode()
        ):
            await asyncio.sleep(0.02)
    return got


def test_a_command_gives_its_status_and_both_outputs(access: Access) -> None:
    async def trial() -> None:
        shell = ["sh", "-c", "cat; echo aside >&2; exit 3"]
        done = await access.run(shell, stdin=b"in" * 100_000, timeout_seconds=60)
        assert (done.exit, done.stdout, done.stderr) == (3, b"in" * 100_000, b"aside\n")
        killed = await access.run(["sh", "-c", "kill -9 $$"], timeout_seconds=60)
        assert killed.exit == -signal.SIGKILL
        assert (await access.run(["sh", "-c", "exit 200"], timeout_seconds=60)).exit == 200
        assert (await access.run(["no-such-program"], timeout_seconds=60)).exit == 127
        words = ["it's", "a \\ b", "$HOME", "two\nlines", "", "\u20ac"]
        said = await access.run(["printf", "%s|", *words], timeout_seconds=60)
        assert said.stdout.decode() == "|".join([*words, ""])
        assert (await access.run(["true"], stdin=b"x" * 5_000_000, timeout_seconds=60)).exit == 0

    asyncio.run(trial())


def test_a_command_gets_nothing_of_our_environment(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "1")
    done = asyncio.run(access.run(["env"], timeout_seconds=60))
    names = {line.partition(b"=")[0] for line in done.stdout.splitlines()}
    assert names == {b"HOME", b"PATH", b"LANG"}


def test_a_command_that_takes_too_long_is_killed(access: Access) -> None:
    async def trial() -> None:
        with pytest.raises(TimeoutError, match=r"sh on host a-0 took longer than 0\.4 s"):
            await access.run(["sh", "-c", "sleep 4711 & sleep 4712"], timeout_seconds=0.4)
        await until_gone(access, "sleep")

    asyncio.run(trial())


def test_files_are_put_once_with_their_mode(access: Access) -> None:
    files = [
        File(path="/run/e3/deep/er/a", content=b"1", mode=0o600),
        File(path="/var/lib/e3/b", content=bytes(range(256)) * 5000, mode=0o755),
        File(path="/run/e3/empty", content=b""),
    ]
    paths = [file.path for file in files]

    async def trial() -> None:
        assert await access.put(files, timeout_seconds=60) == frozenset(paths)
        before = await access.run(["stat", "-c", "%i %z", *paths], timeout_seconds=60)
        assert await access.put(files, timeout_seconds=60) == frozenset()
        assert await access.run(["stat", "-c", "%i %z", *paths], timeout_seconds=60) == before
        changed = [*files[:2], replace(files[2], mode=0o640)]
        assert await access.put(changed, timeout_seconds=60) == frozenset({files[2].path})
        modes = await access.run(["stat", "-c", "%a", *paths], timeout_seconds=60)
        assert modes.stdout == b"600\n755\n640\n"
        got = await access.get([*paths, "/run/none", "/run/e3/empty/b"], timeout_seconds=60)
        assert got == {file.path: file.content for file in files}
        with pytest.raises(HostError, match=r"refuses a file: .*directory"):
            await access.put([File(path="/run/e3/deep", content=b"")], timeout_seconds=60)

    asyncio.run(trial())


@pytest.mark.parametrize("umask", [0o027, 0o077, 0o777])
def test_what_a_host_gets_does_not_follow_the_umask_here(access: Access, umask: int) -> None:
    folder = f"/run/e3/of-{umask:o}"
    file = File(path=f"{folder}/deep/file", content=b"1", mode=0o644)
    place = f"/tmp/of-{umask:o}"  # noqa: S108 -- of the host, where any login may write
    made = ["sh", "-c", f"umask; mkdir {place}; echo 1 > {place}/file"]
    shown = ["stat", "-c", "%a", folder, f"{folder}/deep", file.path, place]

    async def trial() -> None:
        await access.put([file], timeout_seconds=60)
        assert (await access.run(made, timeout_seconds=60)).stdout.strip() == b"0022"
        modes = await access.run([*shown, f"{place}/file"], timeout_seconds=60)
        assert modes.stdout.split() == [b"755", b"755", b"644", b"755", b"644"]
        async with access.attach(["sh", "-c", "umask"]) as process:
            assert (await process.stdout.readline()).strip() == b"0022"

    before = os.umask(umask)
    try:
        asyncio.run(trial())
    finally:
        os.umask(before)


CLERK = """
import os, pathlib, signal, sys
place = pathlib.Path(sys.argv[1])
count = place / "reloads"
signal.signal(signal.SIGHUP, lambda *_: count.write_text(str(int(count.read_text()) + 1)))
count.write_text("0")
with (place / "diary").open("a") as diary:
    print("serving", os.getpid(), os.environ.get("MOOD"), file=diary)
(place / "serves").touch()
while True:
    signal.pause()
"""


def clerk(**changes: object) -> Service:
    values = {
        "name": "clerk",
        "argv": [sys.executable, "-c", CLERK, "/run/e3/clerk"],
        "ready": ["test", "-e", "/run/e3/clerk/serves"],
        "revision": "1",
        **changes,
    }
    return Service(**values)  # type: ignore[arg-type]


def test_a_service_runs_reloads_restarts_and_stops(access: Access) -> None:
    diary, reloads = "/run/e3/clerk/diary", "/run/e3/clerk/reloads"

    async def start(service: Service, serving: int) -> str:
        await access.start(service, timeout_seconds=60)
        async with asyncio.timeout(SOON_SECONDS):
            while (said := await text_of(access, diary, "serving")).count("serving") != serving:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return said

    async def trial() -> None:
        await access.put([File(path="/run/e3/clerk/here", content=b"")], timeout_seconds=60)
        first = await start(clerk(reload_signal="HUP"), 1)
        assert await start(clerk(reload_signal="HUP"), 1) == first
        assert await start(clerk(reload_signal="HUP", revision="2"), 1) == first
        await text_of(access, reloads, "1")
        assert await start(clerk(reload_signal="HUP", revision="2"), 1) == first
        assert await text_of(access, reloads, "1") == "1"
        await start(clerk(revision="3"), 2)
        said = await start(clerk(revision="3", environment={"MOOD": "it's $HOME"}), 3)
        assert "it's $HOME" in said
        assert len(await processes(access)) == 1
        assert "it's $HOME" not in str(await processes(access))
        await access.stop("clerk", timeout_seconds=60)
        await access.stop("clerk", timeout_seconds=60)
        assert await processes(access) == []

    asyncio.run(asyncio.wait_for(trial(), 300))


def test_a_service_that_dies_is_reported_at_once_with_its_last_lines(access: Access) -> None:
    doomed = Service(
        name="doomed",
        argv=["sh", "-c", "for i in $(seq 30); do echo line $i; done; exit 7"],
        ready=["false"],
    )

    async def trial() -> None:
        # no TimeoutError, as it would be were the limit waited for
        with pytest.raises(ServiceError, match=r"doomed on host a-0 died.*exitcode 7") as caught:
            await access.start(doomed, timeout_seconds=60)
        assert "line 30" in str(caught.value)
        assert "line 10\n" not in str(caught.value)
        await access.stop("doomed", timeout_seconds=60)

    asyncio.run(trial())


def test_a_service_that_died_is_started_again(access: Access) -> None:
    async def trial() -> None:
        service = Service(name="once", argv=["sleep", "4713"])
        await access.start(service, timeout_seconds=60)
        await access.run(["pkill", "-f", "^sleep 4713"], timeout_seconds=60)
        async with asyncio.timeout(SOON_SECONDS):
            while await processes(access):  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.02)
        await access.start(service, timeout_seconds=60)
        assert await processes(access) == ["sleep 4713"]
        await access.stop("once", timeout_seconds=60)

    asyncio.run(trial())


def test_a_service_that_is_never_ready_runs_into_the_limit(access: Access) -> None:
    async def trial() -> None:
        never = Service(name="never", argv=["sleep", "1000"], ready=["false"])
        with pytest.raises(TimeoutError, match=r"never on host a-0 is not ready after 0\.7 s"):
            await access.start(never, timeout_seconds=0.7)
        await access.stop("never", timeout_seconds=60)
        assert await processes(access) == []

    asyncio.run(trial())


def test_a_service_that_ignores_its_end_and_has_children_is_gone_after_stop(
    access: Access,
) -> None:
    stubborn = "trap '' TERM; sleep 4714 & touch $0; while :; do wait; done"

    async def trial() -> None:
        flag = "/run/e3/stubborn"
        await access.put([File(path="/run/e3/here", content=b"")], timeout_seconds=60)
        service = Service(
            name="stubborn", argv=["sh", "-c", stubborn, flag], ready=["test", "-e", flag]
        )
        await access.start(service, timeout_seconds=60)
        await access.stop("stubborn", timeout_seconds=60)
        assert await processes(access) == []

    asyncio.run(trial())


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


def test_an_attached_command_talks_and_ends_with_its_input(access: Access) -> None:
    async def trial() -> None:
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

    asyncio.run(trial())


def test_nothing_of_an_attached_command_survives(access: Access) -> None:
    async def trial() -> None:
        async with access.attach([sys.executable, "-c", DAEMON]) as process:
            assert await process.stdout.readline() == b"up\n"
        assert await processes(access) == []
        with pytest.raises(RuntimeError, match="ours"):
            async with access.attach(["sh", "-c", "yes & yes"]):
                raise RuntimeError("ours")
        await until_gone(access, "yes")

    asyncio.run(trial())


def test_a_command_may_be_left_while_another_task_reads_its_output(access: Access) -> None:
    async def trial() -> None:
        async with access.attach(["sh", "-c", "trap '' HUP; sleep 1000 < /dev/null"]) as process:
            reader = asyncio.create_task(process.stdout.readline())
            await asyncio.sleep(0.5)
        assert await reader == b""
        await until_gone(access, "sleep")

    asyncio.run(asyncio.wait_for(trial(), SOON_SECONDS))
