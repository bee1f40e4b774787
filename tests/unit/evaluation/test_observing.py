"""What goes wrong while a cell is observed."""

import asyncio
from asyncio.subprocess import PIPE
from threading import Event
from typing import Any

import pytest

from e3.errors import HostError
from e3.evaluation.campaign import observe
from e3.evaluation.campaign.watch import Addresses, Post, Watch
from e3.remote.tasks import in_thread

pytestmark = pytest.mark.unit


class SlowLab:
    """A lab that makes a host only when it is told to, and knows which hosts it has."""

    def __init__(self) -> None:
        self.asked, self.may = Event(), Event()
        self.hosts: list[str] = []

    def add_host(self, name: str, region: str) -> None:
        del region
        self.asked.set()
        self.may.wait(10)
        self.hosts.append(name)

    def remove_host(self, name: str) -> None:
        self.hosts.remove(name)


def test_a_stranger_that_was_being_added_when_all_was_cancelled_is_removed() -> None:
    lab: Any = SlowLab()

    async def cancelled() -> None:
        async with observe._outsider(lab, "ams3"):  # noqa: SLF001
            raise AssertionError

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(cancelled())
            await in_thread(lab.asked.wait, 10)
            task.cancel()
            lab.may.set()

    asyncio.run(main())
    assert lab.hosts == []


def test_a_capture_that_tells_of_other_views_is_an_error_of_its_host() -> None:
    async def take() -> None:
        argv = ["sh", "-c", "read line; echo '{}'"]
        process = await asyncio.create_subprocess_exec(*argv, stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        post = Post(
            where="ams3-0",
            views={"third": "third-party"},
            stdin=process.stdin,
            stdout=process.stdout,
        )
        try:
            await Watch([post], Addresses(underlay={}, overlay={}), []).take("during")
        finally:
            await process.communicate()

    with pytest.raises(HostError, match="ams3-0 tells of other views"):
        asyncio.run(take())
