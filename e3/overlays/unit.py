"""The kit of overlays: what they run on a host, as data, and how it gets there.

The pure function `Planned.plan` of an overlay takes a host and the members, and returns units.
`apply` makes the host match them, `remove` removes all of it, and `run_script` runs a script of
e3/overlays/scripts.
"""

import hashlib
import json
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Generic, Protocol, TypeVar

from e3.errors import OverlayError
from e3.interfaces import File, Host, ReloadSignal, Service
from e3.remote.tasks import each_to_its_end, gather_or_cancel

TIMEOUT_SECONDS = 30.0
"""The limit of one call to a host."""

AT_ONCE = 32
"""Hosts that are worked on at once. All hosts of a lab share the processors of one machine: of
hundreds whose services start at once, none is ready within `TIMEOUT_SECONDS`."""

MANY_HOSTS = 64
"""Beyond so many hosts, what each does for each other one slows down."""

SCRIPTS = files("e3.overlays") / "scripts"

Public = TypeVar("Public")
Memory = TypeVar("Memory")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Members(Generic[Public, Memory]):
    """The joined hosts, in public values: all that a plan depends on besides the options.

    ``addresses`` has each host's overlay address and ``public`` what the host reported, such as
    its public key, both by host name. ``memory`` is what the overlay keeps between deployments.
    """

    hosts: Sequence[Host]
    addresses: Mapping[str, str]
    public: Mapping[str, Public]
    memory: Memory


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A service of an overlay on a host, with the files that it reads.

    If its files changed, a service gets ``reload_signal``, or is restarted if it has none. With
    ``rereads`` neither happens: the overlay itself tells the service. A changed ``restart_on``,
    which is plain data, always restarts it. It must be ready within ``ready_seconds``.
    """

    name: str
    argv: Sequence[str]
    files: Sequence[File] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Sequence[str] = ("true",)
    ready_seconds: float = TIMEOUT_SECONDS
    reload_signal: ReloadSignal | None = None
    rereads: bool = False
    restart_on: object = None

    @property
    def revision(self) -> str:
        """A digest of the files."""
        return digest([(file.path, file.content.decode(), file.mode) for file in self.files])

    @property
    def service(self) -> Service:
        """The service as a host knows it."""
        return Service(
            name=self.name,
            argv=self.argv,
            environment=self.environment,
            ready=self.ready,
            revision="" if self.rereads else self.revision,
            reload_signal=self.reload_signal,
            restart_on="" if self.restart_on is None else digest(self.restart_on),
        )


class Planned(Protocol):
    """The first step of every overlay: what a host runs. The second is `Overlay.connect`."""

    def plan(self, host: Host, members: Members[Any, Any]) -> Sequence[Unit]:
        """Return the units of ``host``, in the order in which they start. Pure."""


def ready_seconds(hosts: int) -> float:
    """Return how long a service may take to be ready, while those of so many hosts start."""
    return TIMEOUT_SECONDS + max(0, hosts - AT_ONCE)


def digest(value: object) -> str:
    """Return a digest of plain data, as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def text_files(folder: str, texts: Mapping[str, str], *, mode: int = 0o644) -> list[File]:
    """Return files below ``folder`` by their names there."""
    return [
        File(path=f"{folder}/{name}", content=text.encode(), mode=mode)
        for name, text in texts.items()
    ]


def script(name: str) -> str:
    """Return the text of a script of e3/overlays/scripts."""
    return (SCRIPTS / name).read_text()


async def on_each_host(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Return what each of ``work`` on a host returns, in order, with `AT_ONCE` of them at once.

    None may wait for another one. The first error cancels all others.
    """
    return await gather_or_cancel(work, at_once=AT_ONCE)


async def apply(host: Host, units: Sequence[Unit]) -> frozenset[str]:
    """Put the files of ``units`` on ``host`` and start them in order; return the changed files.

    What already matches stays untouched.
    """
    told = [file for unit in units for file in unit.files]
    changed = await host.access.put(told, timeout_seconds=TIMEOUT_SECONDS) if told else frozenset()
    for unit in units:
        await host.access.start(unit.service, timeout_seconds=unit.ready_seconds)
    return changed


async def remove(hosts: Sequence[Host], services: Sequence[str], *places: str) -> None:
    """Stop the services on all ``hosts``, then remove the files and folders ``places``."""

    async def one(host: Host) -> None:
        for name in services:
            await host.access.stop(name, timeout_seconds=TIMEOUT_SECONDS)
        await host.access.run(["rm", "-rf", *places], timeout_seconds=TIMEOUT_SECONDS)

    await each_to_its_end(map(one, hosts))


async def run_script(
    host: Host, name: str, *arguments: str, timeout_seconds: float = TIMEOUT_SECONDS
) -> str:
    """Run a script of e3/overlays/scripts on ``host``; return what it printed.

    Folders are arguments, never part of the script: a host may have them elsewhere. Raises
    `OverlayError` with the script's error output if it fails.
    """
    return await run_program(
        host, ["sh", "-c", script(name), name, *arguments], name, timeout_seconds=timeout_seconds
    )


async def run_program(
    host: Host, argv: Sequence[str], what: str, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> str:
    """Run a command on ``host``; return what it printed, or raise `OverlayError` that says why."""
    done = await host.access.run(argv, timeout_seconds=timeout_seconds)
    if done.exit:
        raise OverlayError(f"{what} on host {host.name}: {done.complaint}")
    return done.stdout.decode(errors="replace")
