"""What E3 adds to MPyC when a program imports it.

Nothing happens in a program that does not import mpyc, and no file of mpyc is
changed: a finder on `sys.meta_path` lets Python load ``mpyc`` as usual and adds

- a listener at the party's overlay address alone (MPyC binds all addresses);
- connections to all peers at once, from the moment at which MPyC begins to load
  (`e3.party.parallel_connect`, `e3.party.early_calls`);
- a check of callers (`e3.party.admission`);
- a restricted unpickler for what peers send, and TCP keepalive (`e3.party.peers`);
- reports of each step: loaded, connecting, connected, stopping, stopped, lost, failed;
- a stream of its own for MPyC's log lines, which it writes between the program's results.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from socket import socket
from types import ModuleType
from typing import Any, TextIO

from e3.party import admission, meter, peers, pictures
from e3.party.cost import SendReport
from e3.party.early_calls import EarlyCalls
from e3.party.opening import backlog
from e3.party.parallel_connect import ParallelConnector
from e3.party.protocol import Spec
from e3.remote.text import printable

Attributes = Any
"""MPyC has no types; its modules, runtime and loop are used by attribute."""


def install(
    report: SendReport,
    log: TextIO,
    listener: socket | None,
    spec: Spec,
    output_folder: Path,
) -> None:
    """Change MPyC, and matplotlib, when they are imported.

    MPyC's log goes to ``log``, it listens at ``listener``, and it reports its steps. From peers it
    takes the types that MPyC itself sends, and those that ``spec`` names. Figures that the program
    shows go to its ``output_folder``.
    """
    early = EarlyCalls(spec)
    ours = [listener] if listener else []
    place = functools.partial(at_own_address, ours, early, spec.address_trust)
    sys.meta_path.insert(
        0,
        Finder(
            {
                pictures.PYPLOT: functools.partial(pictures.load_pyplot, output_folder, log),
                "mpyc": functools.partial(load_package, log, early),
                "mpyc.asyncoro": functools.partial(load_connections, report, spec),
                "mpyc.runtime": functools.partial(load_runtime, report, place, spec.unpickle),
            }
        ),
    )


SUMMARY_LENGTH = 500
"""The most characters of an exception's line."""


def summary(error: BaseException) -> str:
    """Return the line that a traceback of this exception ends with, at most 500 characters."""
    name = type(error).__name__
    try:
        text = str(error).strip()
    except Exception:  # noqa: BLE001 -- an exception's own text is the program's code
        text = "<exception str() failed>"  # as a traceback says it
    return printable(f"{name}: {text.splitlines()[0]}" if text else name, SUMMARY_LENGTH)


def ending(error: Exception | None) -> str:
    """Return how a connection ended, as far as the system says it."""
    if error is None:
        return "closed by peer"
    return getattr(error, "strerror", None) or summary(error)


Place = Callable[[Attributes], contextlib.AbstractContextManager[None]]
"""Makes a runtime that starts meanwhile listen at, and call from, its own address."""

Load = Callable[[Callable[[], None], Attributes], None]
"""Executes a module by calling its first argument, and changes the module around that."""


class Finder(MetaPathFinder):
    """Finds some modules as Python would, and loads each by a function of ours."""

    def __init__(self, loads: dict[str, Load]) -> None:
        """Load each module named by its own function."""
        self._loads = loads

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that we change, None for any other."""
        load = self._loads.get(name)
        if load is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                self._redirect(spec.loader, load)
                return spec
        return None

    @staticmethod
    def _redirect(loader: Loader, load: Load) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(functools.partial(execute, module), module)

        loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one loader


def load_package(
    log: TextIO, early: EarlyCalls, execute: Callable[[], None], _package: Attributes
) -> None:
    """Load ``mpyc``; its logging writes to what is standard output meanwhile."""
    early.begin()
    with contextlib.redirect_stdout(log):
        execute()


def load_connections(
    report: SendReport, spec: Spec, execute: Callable[[], None], module: Attributes
) -> None:
    """Load ``mpyc.asyncoro``: report lost connections, and exceptions in MPyC's coroutines."""
    execute()
    exchanger = module.MessageExchanger
    admission.guard(exchanger, report, spec.address_trust)
    peers.tag_senders(exchanger)
    peers.set_keepalive(exchanger, len(spec.parties))
    lose, close = exchanger.connection_lost, exchanger.close_connection
    handle = module.exception_handler

    @functools.wraps(lose)
    def connection_lost(self: Attributes, exc: Exception | None) -> None:
        if self.peer_pid is not None and not getattr(self.runtime, "e3_stopping", False):
            report("lost", peer=self.peer_pid, why=ending(exc))
        lose(self, exc)

    @functools.wraps(close)
    def close_connection(self: Attributes) -> None:
        self.runtime.e3_stopping = True  # this party closes what ends from now on
        close(self)

    @functools.wraps(handle)
    def exception_handler(loop: Attributes, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None:
            report("failed", error=summary(error))
        handle(loop, context)

    exchanger.connection_lost, exchanger.close_connection = connection_lost, close_connection
    module.exception_handler = exception_handler


def load_runtime(
    report: SendReport,
    place: Place,
    unpickle: tuple[str, ...],
    execute: Callable[[], None],
    module: Attributes,
) -> None:
    """Load ``mpyc.runtime``: report each start and shutdown, and listen at our own address."""
    execute()
    peers.restrict_unpickling(module, report, unpickle)
    runtime = module.Runtime
    report("loaded", version=runtime.version)
    start, shutdown = runtime.start, runtime.shutdown

    @functools.wraps(start)
    async def reported_start(self: Attributes) -> None:
        report("connecting")
        self.e3_stopping = False
        alone = admission.no_other_authority() if self.options.ssl else contextlib.nullcontext()
        with place(self), alone:
            await start(self)
        report("connected")
        meter.read(self, report)

    @functools.wraps(shutdown)
    async def reported_shutdown(self: Attributes) -> None:
        # the barrier is shutdown's own: past it, MPyC counts the bytes that it logs
        while self._pc_level > self._program_counter[1]:
            await module.asyncio.sleep(0)
        links = [getattr(peer, "protocol", None) for peer in self.parties]
        report("stopping", sent_bytes=[getattr(link, "nbytes_sent", 0) for link in links])
        self.e3_stopping = True
        await shutdown(self)
        report("stopped")

    runtime.start, runtime.shutdown = reported_start, reported_shutdown
    gc.freeze()  # modules live to the end: collecting them then would waste 25 ms


@contextlib.contextmanager
def at_own_address(
    sockets: list[socket], early: EarlyCalls, address_trust: str, runtime: Attributes
) -> Iterator[None]:
    """Make MPyC listen at, and call from, this party's own address; MPyC itself names none."""
    from mpyc.asyncoro import MessageExchanger  # noqa: PLC0415 -- loaded by now

    own = runtime.parties[runtime.pid]
    loop = runtime._loop  # noqa: SLF001 -- MPyC has no other name for it
    create_server, create_connection = loop.create_server, loop.create_connection

    async def create_own_connection(
        factory: Attributes, host: str, port: int, **options: Attributes
    ) -> Attributes:
        admission.harden(options.get("ssl"))
        if (connection := await early.take((host, port))) is not None:
            return await create_connection(factory, sock=connection, **options)
        if address_trust != "translated":
            options["local_addr"] = (own.host, 0)  # peers identify the caller by it
        return await create_connection(factory, host, port, **options)

    def create_own_server(
        factory: Attributes, host: object = None, **options: Attributes
    ) -> Attributes:
        admission.harden(options.get("ssl"))
        if host is None and options.get("port") == own.port:
            if sockets:  # made before the program began; gone once the first start is over
                del options["port"]
                options["sock"] = sockets.pop()
            else:
                host = own.host
            # asyncio's 100 are fewer than the peers that may call before this program accepts any
            options.setdefault("backlog", backlog(len(runtime.parties)))
        return create_server(factory, host, **options)

    connector = ParallelConnector(runtime, MessageExchanger, create_own_connection)
    loop.create_server, loop.create_connection = create_own_server, connector.connect
    try:
        yield
    finally:
        connector.close()
        early.close()
        loop.create_server, loop.create_connection = create_server, create_connection
