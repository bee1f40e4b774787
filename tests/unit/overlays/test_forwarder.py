"""What hosts of overlays that forward connections answer, who may answer anything."""

import asyncio
from dataclasses import replace
from typing import cast

import msgspec
import pytest

from e3.interfaces import Access, Completed, Overlay, Service
from e3.overlays.forwarder import Answer
from e3.overlays.iroh import Iroh
from e3.overlays.libp2p import Libp2p
from e3.overlays.unit import AT_ONCE, TIMEOUT_SECONDS
from e3.paths import Direct, Relayed, Reported
from tests.hosts import host


@pytest.mark.parametrize(
    ("said", "reported"),
    [
        ('{"path":"none"}', "none"),
        ('{"path":"direct"}', "direct"),
        ('{"path":"direct","exchange":"X25519MLKEM768"}', Direct(exchange="X25519MLKEM768")),
        ('{"path":"direct","exchange":"CurveID(4588)"}', Direct(exchange="CurveID(4588)")),
        ('{"path":"relayed"}', "relayed"),
        ('{"path":"relayed","by":"a\\u001b[0m"}', Relayed(by="a\\x1b[0m")),
        (
            '{"path":"relayed","by":"ams3-0","exchange":"X25519"}',
            Relayed(by="ams3-0", exchange="X25519"),
        ),
    ],
)
def test_a_path_is_reported_as_the_host_tells_it(said: str, reported: Reported) -> None:
    assert msgspec.json.decode(said, type=Answer).reported == reported


@pytest.mark.parametrize("exchange", ["x" * 41, "<b>", "X25519\\n", "\\u001b[0m", "é"])
def test_no_exchange_of_keys_has_such_a_name(exchange: str) -> None:
    said = f'{{"path":"direct","exchange":"{exchange}"}}'
    with pytest.raises(msgspec.ValidationError, match=r"exchange"):
        msgspec.json.decode(said, type=Answer)


class Counted:
    """Access to one of many hosts: each command succeeds, and so many ``most`` ran at once."""

    running = most = 0

    async def _work(self) -> None:
        Counted.running += 1
        Counted.most = max(Counted.most, Counted.running)
        await asyncio.sleep(0)
        Counted.running -= 1

    async def run(self, *_: object, **__: object) -> Completed:
        await self._work()
        return Completed(exit=0, stdout=b"identity", stderr=b"")

    async def put(self, *_: object, **__: object) -> frozenset[str]:
        await self._work()
        return frozenset()

    async def start(self, service: Service, *, timeout_seconds: float) -> None:
        assert timeout_seconds > TIMEOUT_SECONDS, service.name
        await self._work()


@pytest.mark.parametrize("overlay", [Iroh(), Libp2p()], ids=["iroh", "libp2p"])
def test_many_hosts_are_joined_some_at_a_time_and_may_take_longer(overlay: Overlay) -> None:
    access = cast("Access", Counted())
    hosts = [
        replace(host(f"ams3-{i}", f"198.18.0.{i + 2}"), access=access) for i in range(AT_ONCE + 8)
    ]
    Counted.most = 0
    asyncio.run(overlay.connect(hosts, None, None))
    assert Counted.most == AT_ONCE
