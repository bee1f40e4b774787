"""When one host fails, the work on the others has ended before anything is cleaned up."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from e3.errors import E3Error, HostError
from e3.interfaces import Completed, File, Host, Network, Process, Service
from e3.overlays import OVERLAYS
from tests.hosts import host
from tests.overlays import make_authority

NAMES = ("ams3-0", "ams3-1", "nyc3-0", "sgp1-0")
OPTIONS: Mapping[str, Mapping[str, object]] = {"tailscale": {"auth_key": "tskey-auth-x"}}
VERBS = ("connect", "paths", "disconnect")


@dataclass
class Slow:
    """An access whose host delays every answer, and may be gone at its n-th answer."""

    name: str
    answers: Iterator[int]
    gone_at: int | None = None
    begun: list[str] = field(default_factory=list)

    async def _take_a_moment(self, what: str) -> None:
        self.begun.append(what)
        for _ in range(1 if self.gone_at is not None else 4):
            await asyncio.sleep(0)
        if self.gone_at is not None and next(self.answers) >= self.gone_at:
            raise HostError(f"host {self.name} is gone")

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float
    ) -> Completed:
        del stdin, timeout_seconds
        await self._take_a_moment(argv[0])
        return Completed(exit=0, stdout=b'{"BackendState": "NeedsLogin"}', stderr=b"")

    async def put(self, files: Sequence[File], *, timeout_seconds: float) -> frozenset[str]:
        del timeout_seconds
        await self._take_a_moment("put")
        return frozenset(file.path for file in files)

    async def get(self, paths: Sequence[str], *, timeout_seconds: float) -> Mapping[str, bytes]:
        del timeout_seconds
        await self._take_a_moment("get")
        return dict.fromkeys(paths, b"")

    async def start(self, service: Service, *, timeout_seconds: float) -> None:
        del timeout_seconds
        await self._take_a_moment(f"start {service.name}")

    async def stop(self, name: str, *, timeout_seconds: float) -> None:
        del timeout_seconds
        await self._take_a_moment(f"stop {name}")

    @asynccontextmanager
    async def attach(self, argv: Sequence[str]) -> AsyncIterator[Process]:
        await self._take_a_moment(argv[0])
        raise HostError(f"host {self.name} is gone")
        yield


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("failing", NAMES[:2])
@pytest.mark.parametrize("name", OVERLAYS)
def test_nothing_goes_on(name: str, failing: str, verb: str) -> None:
    overlay = OVERLAYS[name](**OPTIONS.get(name, {}))
    authority = make_authority(overlay)
    for gone_at in range(4):
        slow = [Slow(each, itertools.count()) for each in NAMES]
        hosts = [replace(host(it.name, f"198.18.{i}.2"), access=it) for i, it in enumerate(slow)]
        next(it for it in slow if it.name == failing).gone_at = gone_at

        async def scenario(hosts: Sequence[Host] = hosts, slow: Sequence[Slow] = slow) -> None:
            network = Network(addresses={each: f"10.77.0.{i}" for i, each in enumerate(NAMES)})
            work: Mapping[str, Coroutine[Any, Any, object]] = {
                "connect": overlay.connect(hosts, authority, None),
                "paths": overlay.paths(hosts, network),
                "disconnect": overlay.disconnect(hosts, network),
            }
            for other in work.keys() - {verb}:
                work[other].close()
            # the hosts' answers are nonsense, too
            with contextlib.suppress(E3Error, ValueError, LookupError):
                await work[verb]
            then = [list(each.begun) for each in slow]
            assert asyncio.all_tasks() == {asyncio.current_task()}
            for _ in range(20):
                await asyncio.sleep(0)
            assert [each.begun for each in slow] == then

        asyncio.run(scenario())
