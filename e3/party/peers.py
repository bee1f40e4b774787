"""Messages of peers: tagged by sender, unpickled with restrictions, and guarded by keepalive."""

from __future__ import annotations

import functools
import os
import pickle
import sys
from asyncio import Future
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, NoReturn

from e3.party.cost import SendReport, bounded
from e3.party.opening import resend_soon, watch
from e3.party.protocol import FEW_PARTIES, REFUSED_STATUS, spare_seconds
from e3.party.unpickle import Receiver

Attributes = Any
"""MPyC has no types; its classes are used by attribute."""

PEER_SILENCE_SECONDS = 20
"""A peer whose machine acknowledges nothing for so long is lost; a cable may be out for less. Among
many parties it is longer: each pair that has nothing to say sends probes meanwhile."""

PROBES = 4


class Own(bytes):
    """A pickle that this party has made itself."""

    __slots__ = ()


@functools.cache
def letters(peer: int) -> type[bytes]:
    """Return the type of messages from ``peer``."""
    return type("Letter", (bytes,), {"__slots__": (), "peer": peer})


@functools.cache
def awaited_letters(peer: int) -> type[Future[bytes]]:
    """Return the type of messages that are still to come from ``peer``."""
    letter = letters(peer)

    def set_result(self: Future[bytes], payload: bytes) -> None:
        Future.set_result(self, letter(payload))

    return type("AwaitedLetter", (Future,), {"set_result": set_result})


def tag_senders(exchanger: Attributes) -> None:
    """Give each message that MPyC's ``exchanger`` class delivers a type that names its sender."""
    receive = exchanger.receive

    @functools.wraps(receive)
    def receive_from_peer(self: Attributes, pc: int) -> bytes | Future[bytes]:
        payload = receive(self, pc)
        if isinstance(payload, Future):
            awaited = awaited_letters(self.peer_pid)(loop=self.runtime._loop)  # noqa: SLF001 -- MPyC has no other name for it
            self.buffers[pc] = awaited
            return awaited
        return letters(self.peer_pid)(payload)

    exchanger.receive = receive_from_peer


def set_keepalive(exchanger: Attributes, parties: int) -> None:
    """Make connections of MPyC's ``exchanger`` class end when the peer's machine is silent.

    Those of many parties send again what was lost as soon as the agreement's do.
    """
    make = exchanger.connection_made
    seconds = PEER_SILENCE_SECONDS + int(spare_seconds(parties) / 8)

    @functools.wraps(make)
    def connection_made(self: Attributes, transport: Attributes) -> None:
        with suppress(AttributeError):  # no socket
            connection = transport.get_extra_info("socket")
            watch(connection, seconds, seconds // PROBES)
            if parties > FEW_PARTIES:
                resend_soon(connection)
        make(self, transport)

    exchanger.connection_made = connection_made


def restrict_unpickling(module: Attributes, report: SendReport, allowed: tuple[str, ...]) -> None:
    """Make ``module``, MPyC's runtime, unpickle only types that MPyC sends, and ``allowed``."""

    def refuse(data: object, what: str) -> NoReturn:
        report("offended", peer=getattr(type(data), "peer", None), what=what)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(REFUSED_STATUS)  # at once: the program could catch an exception

    receiver = Receiver(allowed, refuse, functools.partial(bounded, report))

    def dumps(value: object, *args: Any, **options: Any) -> bytes:  # noqa: ANN401 -- as pickle.dumps
        return Own(pickle.dumps(value, *args, **options))

    def loads(data: bytes, /, **options: Any) -> Any:  # noqa: ANN401 -- as pickle.loads
        if type(data) is Own:
            return pickle.loads(data, **options)  # noqa: S301 -- it never left this process
        return receiver.loads(data, **options)

    # no other name of the module: a use that MPyC does not make today fails loudly
    module.pickle = SimpleNamespace(dumps=dumps, loads=loads)
