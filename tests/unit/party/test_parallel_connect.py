"""All peers are called at once, and MPyC gets the connection to each when it asks for it."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from e3.party import opening
from e3.party.parallel_connect import ParallelConnector

pytestmark = pytest.mark.unit

CALLED = 3


class Network:
    """Connects once all parties are called; refuses the first call at each port of ``refused``."""

    def __init__(self, *refused: int) -> None:
        self.barrier = asyncio.Barrier(CALLED)
        self.refused = set(refused)
        self.calls: list[tuple[int, dict[str, object]]] = []
        parties = [SimpleNamespace(pid=i, host="h", port=100 + i) for i in range(CALLED + 1)]
        self.runtime = SimpleNamespace(pid=0, parties=parties, _loop=asyncio.get_running_loop())

    async def connect(
        self, factory: Callable[[], object], host: str, port: int, **options: object
    ) -> tuple[object, str, int]:
        self.calls.append((port, options))
        if len(self.calls) <= CALLED:
            await self.barrier.wait()
        if port in self.refused:
            self.refused.remove(port)
            raise ConnectionRefusedError
        return factory(), host, port


def test_all_are_called_at_once_each_by_its_name() -> None:
    async def scenario() -> None:
        network = Network()
        connector = ParallelConnector(network.runtime, lambda _, pid: pid, network.connect)
        for pid in (1, 2, 3):
            named = {"server_hostname": f"MPyC party {pid}", "ssl": "context"}
            made = await connector.connect(lambda: "unused", "h", 100 + pid, **named)
            assert made == (pid, "h", 100 + pid)
            assert network.calls[pid - 1] == (100 + pid, named)
        assert len(network.calls) == CALLED

    asyncio.run(asyncio.wait_for(scenario(), 5))


def test_of_many_peers_few_are_called_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MOST_CALLS", 1)
    monkeypatch.setattr(opening, "LEAST_CALLS", CALLED - 1)

    async def scenario() -> None:
        network = Network()
        connector = ParallelConnector(network.runtime, lambda _, pid: pid, network.connect)
        first = asyncio.create_task(connector.connect(lambda: "unused", "h", 101))
        await asyncio.sleep(0.05)
        assert [port for port, _ in network.calls] == [101, 102]
        await network.barrier.wait()  # these two are connected now
        assert (await first)[0] == 1
        third = asyncio.create_task(connector.connect(lambda: "unused", "h", 103))
        await asyncio.sleep(0.05)
        assert [port for port, _ in network.calls] == [101, 102, 103]
        third.cancel()
        connector.close()

    asyncio.run(asyncio.wait_for(scenario(), 5))


def test_a_peer_that_cannot_be_reached_is_called_again_when_mpyc_asks() -> None:
    async def scenario() -> None:
        network = Network(102)
        connector = ParallelConnector(network.runtime, lambda _, pid: pid, network.connect)
        assert (await connector.connect(lambda: "unused", "h", 101))[0] == 1
        with pytest.raises(ConnectionRefusedError):
            await connector.connect(lambda: "unused", "h", 102)
        assert (await connector.connect(lambda: "by MPyC", "h", 102))[0] == "by MPyC"
        assert network.calls[-1] == (102, {})
        connector.close()

    asyncio.run(asyncio.wait_for(scenario(), 5))
