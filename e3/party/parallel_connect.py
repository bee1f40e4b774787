"""Connect to many peers of higher pid at once; MPyC connects to one after another.

So a start takes the slowest peer's round trips instead of the sum of all. What is sent on each
connection, and what follows a failure, stays as MPyC has it.
"""

from __future__ import annotations

import functools
from asyncio import Semaphore, Task
from collections.abc import Callable, Coroutine
from typing import Any

from e3.party.opening import calls_at_once

Attributes = Any
"""MPyC has no types."""

Connect = Callable[..., Coroutine[Any, Any, Any]]
"""As `asyncio.loop.create_connection`."""


class ParallelConnector:
    """Connects a runtime that starts; its `connect` replaces the loop's ``create_connection``."""

    def __init__(self, runtime: Attributes, exchanger: Attributes, connect: Connect) -> None:
        """Use ``connect`` to connect each peer, to an ``exchanger`` of its own."""
        self._runtime = runtime
        self._exchanger = exchanger
        self._connect = connect
        self._room = Semaphore(calls_at_once(len(runtime.parties)))
        self._begun: dict[tuple[object, object], Task[Any]] | None = None

    async def connect(
        self, factory: Attributes, host: object = None, port: object = None, **options: Attributes
    ) -> Attributes:
        """Return the connection to a party; the first call starts those to all others too."""
        if self._begun is None:
            self._begun = self._begin(options)
        begun = self._begun.pop((host, port), None)
        if begun is None:  # it failed before, or is not one to a party
            return await self._connect(factory, host, port, **options)
        return await begun

    def close(self) -> None:
        """Cancel the connections that MPyC has not asked for."""
        for task in (self._begun or {}).values():
            task.cancel()

    async def _in_turn(self, *args: object, **options: Attributes) -> Attributes:
        async with self._room:
            return await self._connect(*args, **options)

    def _begin(self, options: dict[str, Attributes]) -> dict[tuple[object, object], Task[Any]]:
        begun = {}
        runtime = self._runtime
        for peer in runtime.parties[runtime.pid + 1 :]:
            named = {"server_hostname": f"MPyC party {peer.pid}"} if options.get("ssl") else {}
            factory = functools.partial(self._exchanger, runtime, peer.pid)
            connecting = self._in_turn(factory, peer.host, peer.port, **{**options, **named})
            # outlives: `close` cancels what MPyC has not asked for
            task = runtime._loop.create_task(connecting)  # noqa: SLF001 -- its only name
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            begun[peer.host, peer.port] = task
        return begun
