"""Ensure that each host of a session has the packages for which its program asks.

Before the session's clock starts: hosts say which packages they can use, one resolution is found
for all of them, and each gets the layer of its kind. A host that sees this machine's files, as in a
lab, uses the one here; any other is sent a copy, and needs neither index nor pip.
"""

import asyncio
import hashlib
import inspect
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from msgspec import Meta
from packaging.specifiers import SpecifierSet

from e3.errors import HostError, ProgramError
from e3.experiment import Rules
from e3.interfaces import File, Host
from e3.remote import layers as on_host
from e3.remote.layers import PARTS
from e3.remote.tasks import gather_or_cancel, in_thread
from e3.remote.text import printable
from e3.session.declarations import Declaration, Prepared
from e3.session.layers import FORMAT, Resolution, Store, packed, shown
from e3.session.requirements import Requirements, declared
from e3.session.resolver import MB, Target, Uv, platform

THERE = "/var/lib/e3/packages"
"""The store of a host that does not see this machine's."""

ANSWER_SECONDS = 60.0
PIECES = 8
"""Sent at once."""
UNPACKED = 5
"""A layer and its bytecode take at most that many times the space of the archive."""

SOURCE = inspect.getsource(on_host)

Word = Annotated[str, Meta(max_length=100, pattern=r"\A[\w .+!-]*\Z")]
Place = Annotated[str, Meta(max_length=4096, pattern=r"\A/[^\0-\x1f]*\Z")]
Tell = Callable[[str], None]


class Shelf(msgspec.Struct):
    """A store as a host sees it."""

    path: Place
    layers: Annotated[list[Word], Meta(max_length=1000)]
    free_bytes: int


class Seen(msgspec.Struct):
    """What a host says of itself, decoded: its owner can make it say anything."""

    python: Annotated[str, Meta(pattern=r"\A3\.\d{1,3}\.\d{1,3}\Z")]
    implementation: Word
    machine: Word
    bits: int
    libc: Word
    versions: dict[Word, Word]
    stores: Annotated[list[Shelf], Meta(min_length=2, max_length=2)]


@asynccontextmanager
async def prepared(
    asked: Declaration, hosts: Sequence[Host], rules: Rules, tell: Tell, store: Store
) -> AsyncIterator[Prepared]:
    """Ensure that each host has what a program asks for, as long as the context lasts.

    ``tell`` is told what is done. Raises `ProgramError` if the requirements cannot be met within
    the limits, and `HostError` if a host cannot take them.
    """
    wanted = declared(asked)
    if wanted is None:
        yield Prepared()
        return
    seconds = rules.limits.packages_seconds
    try:
        async with asyncio.timeout(seconds):
            work = Preparation(wanted, hosts, rules, tell, store)
            resolution = await work.resolve()
            places = await work.provide(resolution)
    except TimeoutError:
        raise ProgramError(
            f"{wanted.source}: its packages took longer than {seconds:g} s; what was downloaded is "
            "kept, so run again, or raise packages-seconds of e3:limits"
        ) from None
    with store.using([resolution.layer(target) for target in work.targets.values()]):
        yield Prepared(layers=places, listed=resolution.packages)


class Preparation:
    """One preparation of all hosts; `prepared` is its only user."""

    def __init__(
        self, wanted: Requirements, hosts: Sequence[Host], rules: Rules, tell: Tell, store: Store
    ) -> None:
        """Prepare ``hosts``, which are those of the parties."""
        self._wanted = wanted
        self._hosts = hosts
        self._build = rules.dependencies == "build"
        self._most_mb = rules.limits.packages_mb
        self._tell = tell
        self._store = store
        self._seen: dict[str, Seen] = {}
        self.targets: dict[str, Target] = {}
        """What each host can use, by its name."""

    async def resolve(self) -> Resolution:
        """Return what meets the requirements on all hosts, as it was found the first time."""
        await self._look(self._hosts)
        for host in self._hosts:
            self.targets[host.name] = self._target(host)
        kinds = sorted(set(self.targets.values()))
        known = [FORMAT, self._wanted.digest, self._build, [repr(kind) for kind in kinds]]
        key = hashlib.sha256(json.dumps(known).encode()).hexdigest()
        found = self._store.resolution(key)
        if found is not None:
            return found
        self._tell(f"finding the packages that {self._wanted.source} asks for")
        async with self._store.locked() as scratch:
            uv = Uv(scratch, self._wanted, build=self._build)
            resolved: dict[str, tuple[object, ...]] = {}
            versions: dict[str, str] = {}
            for kind in kinds:
                packages = await uv.resolve(kind, versions)
                self._check_size(sum(each.size for each in packages))
                resolved[kind.name] = packages
                versions = {each.name: each.version for each in packages} | versions
            found = msgspec.convert({"targets": resolved}, Resolution, from_attributes=True)
            self._store.keep(key, found)
        return found

    async def provide(self, resolution: Resolution) -> Mapping[str, str]:
        """Give each host its layer; return the layers' paths by host."""
        lacking = [host for host in self._hosts if self._place(host, resolution) is None]
        if lacking:
            await self._make(resolution, lacking)
            await self._look(lacking)
        away = [host for host in lacking if self._place(host, resolution) is None]
        if away:
            await self._send(resolution, away)
        return {host.name: self._place(host, resolution) or "" for host in self._hosts}

    async def _look(self, hosts: Sequence[Host]) -> None:
        """Ask hosts what they can use and have."""
        answers = await gather_or_cancel(
            ask(host, "look", str(self._store.folder.absolute()), THERE) for host in hosts
        )
        for host, answer in zip(hosts, answers, strict=True):
            try:
                self._seen[host.name] = msgspec.convert(answer, Seen)
            except msgspec.ValidationError as error:
                raise HostError(
                    f"host {host.name} reports invalid facts of its Python: {printable(error)}; "
                    "correct that there"
                ) from None

    def _target(self, host: Host) -> Target:
        seen = self._seen[host.name]
        if seen.implementation != "cpython":
            raise HostError(
                f"host {host.name} has {seen.implementation}, for which E3 installs no packages; "
                "give it CPython, or set e3:dependencies to none"
            )
        if seen.python not in SpecifierSet(self._wanted.python):
            raise ProgramError(
                f"{self._wanted.source} asks for Python {printable(self._wanted.python)}, and host "
                f"{host.name} has {seen.python}"
            )
        name, plain = platform(seen.machine, seen.bits, seen.libc)
        known = ((name, seen.versions[name]) for name in on_host.PINNED if name in seen.versions)
        python = ".".join(seen.python.split(".")[:2])
        return Target(python=python, platform=name, base=tuple(known), plain=plain)

    def _place(self, host: Host, resolution: Resolution) -> str | None:
        """Return where a host has its layer; None if it has none."""
        name = resolution.layer(self.targets[host.name])
        shelves = self._seen[host.name].stores
        return next((f"{it.path}/{name}" for it in shelves if name in it.layers), None)

    def _check_size(self, size: int) -> None:
        if size > self._most_mb * MB:
            raise ProgramError(
                f"{self._wanted.source}: its packages have {size / MB:,.0f} MB to download, and "
                f"packages-mb of e3:limits allows {self._most_mb:g}; ask for fewer, or raise that"
            )

    async def _make(self, resolution: Resolution, hosts: Sequence[Host]) -> None:
        """Make the layers for these hosts in the store of this machine."""
        kinds = sorted({self.targets[host.name] for host in hosts})
        async with self._store.locked() as scratch:
            uv = Uv(scratch, self._wanted, build=self._build)
            for kind in kinds:
                if not (self._store.folder / resolution.layer(kind)).is_dir():
                    packages = {kind.name: resolution.targets[kind.name]}
                    self._tell(f"installing for {kind}: {shown(packages)}")
                await self._store.make(uv, scratch, resolution, kind, self._most_mb)

    async def _send(self, resolution: Resolution, hosts: Sequence[Host]) -> None:
        """Send hosts their layers, each kind packed once."""
        for kind in sorted({self.targets[host.name] for host in hosts}):
            name = resolution.layer(kind)
            pieces, digest = await in_thread(packed, self._store.folder / name)
            size = sum(map(len, pieces))
            theirs = [host for host in hosts if self.targets[host.name] == kind]
            names = ", ".join(host.name for host in theirs)
            self._tell(f"sending packages to {names} ({size / MB:,.1f} MB each)")
            await gather_or_cancel(self._send_one(host, name, pieces, digest) for host in theirs)
        await self._look(hosts)
        for host in hosts:
            if self._place(host, resolution) is None:
                raise HostError(f"host {host.name} did not keep the packages that it was sent")

    async def _send_one(self, host: Host, name: str, pieces: Sequence[bytes], digest: str) -> None:
        size = UNPACKED * sum(map(len, pieces))
        free = self._seen[host.name].stores[1].free_bytes
        if free < size:
            raise HostError(
                f"host {host.name} has {free / MB:,.0f} MB of disk left, and the packages need "
                f"{size / MB:,.0f}; make room there"
            )
        files = [
            File(path=f"{THERE}/{name}{PARTS}/{number:05}", content=piece, mode=0o600)
            for number, piece in enumerate(pieces)
        ]
        seconds = 7 * 86_400.0  # `prepared` has the limit
        for at in range(0, len(files), PIECES):
            await host.access.put(files[at : at + PIECES], timeout_seconds=seconds)
        await ask(host, "unpack", THERE, name, digest, seconds=seconds)


async def ask(host: Host, *words: str, seconds: float = ANSWER_SECONDS) -> object:
    """Return the answer of `e3.remote.layers` on a host."""
    argv = [host.python, "-I", "-c", SOURCE, *words]
    try:
        done = await host.access.run(argv, timeout_seconds=seconds)
    except TimeoutError as error:  # not that of `prepared`, which cancels
        raise HostError(str(error)) from error
    try:
        answer = json.loads(done.stdout) if done.exit == 0 else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise HostError(f"host {host.name} cannot take packages: {done.complaint}")
    if "refused" in answer:
        raise HostError(f"host {host.name} {printable(answer['refused'])}")
    return answer
