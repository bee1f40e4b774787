"""What every access must fulfil, whenever it is cancelled; the rest is in tests/lab."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest

from e3.access import ACCESSES
from e3.interfaces import Access, File
from e3.lab.client import Lab
from tests.labs import running

SLEEP = ["sleep", "1000"]
SOON_SECONDS = 30.0
MOMENTS_MS = [0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50]
MAKERS: Mapping[str, Callable[[Lab], Access]] = {
    "namespace": lambda lab: lab.add_host("a-0", "a").access,
}


@pytest.fixture(scope="module", params=sorted(ACCESSES))
def access(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Access]:
    if request.param not in MAKERS:
        pytest.skip(f"no lab makes hosts that are reached by {request.param}")
    with running(tmp_path_factory.mktemp("access"), regions=["a"]) as lab:
        yield MAKERS[request.param](lab)


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
    """Return once the host runs no such command; zombies are about to be buried."""
    async with asyncio.timeout(SOON_SECONDS):
        listing = ["ps", "-C", command, "-o", "stat=,pid="]
        while listed := (await access.run(listing, timeout_seconds=10)).stdout.decode():
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
        await access.put([big], timeout_seconds=30)

    async def trial() -> None:
        task = asyncio.create_task(put())
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task], timeout=SOON_SECONDS)
        found = await access.get([big.path], timeout_seconds=10)
        assert found.get(big.path) in (None, big.content)

    asyncio.run(trial())
