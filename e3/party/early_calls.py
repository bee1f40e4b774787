"""Calls MPyC's first peers while MPyC loads, which takes as long as a connection's round trip.

After the agreement all listeners are open: a connection waits there until MPyC of its party
accepts it. It is MPyC that sends first, once it has the connection.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from socket import socket

from e3.party.opening import Endpoint, call, calls_at_once
from e3.party.protocol import Spec


class EarlyCalls:
    """Connections to the first peers of higher pid, until MPyC takes them."""

    def __init__(self, spec: Spec) -> None:
        """Call nobody yet."""
        own, _ = spec.parties[spec.pid]
        self._own = None if spec.address_trust == "translated" else own
        self._peers = spec.parties[spec.pid + 1 :][: calls_at_once(len(spec.parties))]
        self._calls: dict[Endpoint, socket] = {}

    def begin(self) -> None:
        """Call all of them; MPyC itself tries again where that fails."""
        for peer in self._peers:
            with suppress(OSError):
                self._calls[peer] = call(peer, self._own)
        # else a process that the program starts would keep them open after MPyC has closed them
        os.register_at_fork(after_in_child=self.close)

    async def take(self, peer: Endpoint) -> socket | None:
        """Return the open connection to a peer; None if there is none, or it cannot be opened."""
        connection = self._calls.pop(peer, None)
        if connection is not None:
            try:
                await asyncio.get_running_loop().sock_connect(connection, peer)
            except BaseException as error:
                connection.close()
                if not isinstance(error, OSError):
                    raise
                return None
        return connection

    def close(self) -> None:
        """Close the connections that nobody has taken."""
        while self._calls:
            self._calls.popitem()[1].close()
