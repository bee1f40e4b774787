"""Agreements for tests: parties on loopback, each in a thread, and what came of it."""

import os
import socket
import struct
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Self

import pytest

from e3.party.agreement import Agreement
from e3.party.fields import Value
from e3.party.links import AgreementOutcome
from e3.party.opening import Opened
from e3.party.protocol import Spec

TCP_REPAIR = 19
"""linux/tcp.h"""

FACTS: Mapping[str, Value] = {"e3": 1, "mpyc": "0.11", "threshold": 1, "python": "3.11"}
"""A statement; the agreement itself does not care what it says."""


@dataclass
class Table:
    """Parties that have their listeners, as the runner makes them, and no agreement yet."""

    m: int
    first: int = 2
    agree_seconds: float = 20.0
    address_trust: str = "unverified"
    exits: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.addresses = [f"127.0.1.{pid + self.first}" for pid in range(self.m)]
        self.listeners = [self._listen(address) for address in self.addresses]
        self.ports = [listener.getsockname()[1] for listener in self.listeners]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.exits.close()

    def _listen(self, address: str) -> socket.socket:
        return self.exits.enter_context(socket.create_server((address, 0)))

    def spec(self, pid: int) -> Spec:
        return Spec(
            session="s",
            pid=pid,
            parties=tuple(zip(self.addresses, self.ports, strict=True)),
            entry="p.py",
            args=(),
            address_trust=self.address_trust,
            agree_seconds=self.agree_seconds,
        )

    def agree(
        self, pid: int, facts: Mapping[str, Value] = FACTS, **changes: object
    ) -> AgreementOutcome:
        """Do one party's part."""
        spec = replace(self.spec(pid), **changes)  # type: ignore[arg-type]  # by the test's care
        reading, writing = os.pipe()
        try:
            listener = self.listeners[pid] if pid else None
            opened = Opened(listener, {})
            return Agreement(spec, facts, opened, reading).run(lambda: True, iter(()))
        finally:
            os.close(reading)
            os.close(writing)

    def all_agree(self, facts: Mapping[int, Mapping[str, Value]]) -> list[AgreementOutcome]:
        """Run the agreement of all parties at once; ``facts`` by pid replace what all state."""
        with ThreadPoolExecutor(self.m) as pool:
            tasks = [pool.submit(self.agree, pid, facts.get(pid, FACTS)) for pid in range(self.m)]
            return [task.result(60) for task in tasks]

    def call(self, pid: int, data: Sequence[bytes], *, source: str) -> socket.socket:
        """Call a party from an address, and send it these pieces."""
        target = (self.addresses[pid], self.ports[pid])
        caller = socket.create_connection(target, timeout=60, source_address=(source, 0))
        self.exits.enter_context(caller)
        for piece in data:
            caller.sendall(piece)
        return caller


def reset(connection: socket.socket) -> None:
    """End a connection at once, as a process that is killed with data unread does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def vanish(connection: socket.socket) -> None:
    """End a connection so that the other end never hears of it; skip the test if we may not."""
    try:
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except PermissionError:
        pytest.skip("only root ends a connection in silence")
    connection.close()


def is_closed(connection: socket.socket) -> bool:
    """Wait for the other end to close, whatever it says before."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    return True
