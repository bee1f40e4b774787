"""The packages of programs on this machine: one folder for each set and each kind of host.

A store has *resolutions*, which say what meets some requirements, and *layers*, which have it
installed (`e3.remote.layers`). Both are whole if they exist. All labs of this machine see the
store; other hosts are sent a layer.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from e3.errors import PlatformError, ProgramError
from e3.party.packages import CONTENTS, SITE, found
from e3.remote.layers import NEW, PREFIX, compile_all, layers
from e3.remote.tasks import in_thread
from e3.session.declarations import STORE
from e3.session.resolver import MB, Package, Target, Uv

FORMAT = 1
"""Part of all digests: a change of what a layer is makes new ones."""

KEPT = 8
"""The layers that were used last are kept, and those in use."""
KEPT_RESOLUTIONS = 100

LOOK_SECONDS = 0.1
PIECE_BYTES = 8 * MB


class Resolution(msgspec.Struct, frozen=True):
    """What meets a program's requirements, by the name of each target."""

    targets: dict[str, tuple[Package, ...]]

    @property
    def digest(self) -> str:
        """The SHA-256 of all packages with their versions and files."""
        known = msgspec.to_builtins(self.targets)
        return hashlib.sha256(json.dumps([FORMAT, known], sort_keys=True).encode()).hexdigest()

    @property
    def packages(self) -> list[str]:
        """The packages of all targets with their versions, in alphabetical order."""
        return sorted({f"{x.name} {x.version}" for each in self.targets.values() for x in each})

    @property
    def stated(self) -> str:
        """What the parties compare."""
        return f"{', '.join(self.packages)} ({self.digest[:16]})"

    def layer(self, target: Target) -> str:
        """Return the name of a target's layer."""
        return f"{PREFIX}{self.digest[:16]}-{target.name}"


@dataclass(frozen=True, kw_only=True)
class Store:
    """The resolutions and layers in a folder."""

    folder: Path = STORE

    def resolution(self, key: str) -> Resolution | None:
        """Return what was found before for ``key``; None if that is not known."""
        with contextlib.suppress(OSError, msgspec.DecodeError, msgspec.ValidationError):
            path = self._resolution(key)
            known = msgspec.json.decode(path.read_bytes(), type=Resolution)
            os.utime(path)
            return known
        return None

    def keep(self, key: str, resolution: Resolution) -> None:
        """Keep what was found for ``key``; forget those that were used longest ago."""
        path = self._resolution(key)
        new = path.with_name(f"{NEW}{path.name}")
        new.write_bytes(msgspec.json.encode(resolution))
        new.replace(path)
        kept = sorted(self.folder.glob("resolved-*"), key=lambda each: each.stat().st_mtime)
        for old in kept[:-KEPT_RESOLUTIONS]:
            old.unlink(missing_ok=True)

    def _resolution(self, key: str) -> Path:
        return self.folder / f"resolved-{key[:32]}.json"

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[Path]:
        """Hold the store's lock, which one process has; yield a folder for what is half-made."""
        try:
            for place in (self.folder.parent, self.folder):
                place.mkdir(exist_ok=True)
            self.folder.chmod(0o755)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PlatformError(
                f"{self.folder} cannot be written: {error.strerror}; packages of programs go there"
            ) from error
        try:
            # flock(2) cannot be awaited, and a thread that blocks in it cannot be cancelled
            while not _taken(lock, fcntl.LOCK_EX):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
            for half in self.halves():
                await in_thread(_remove, half)
            with tempfile.TemporaryDirectory(prefix=NEW, dir=self.folder) as scratch:
                yield Path(scratch)
        finally:
            os.close(lock)

    def halves(self) -> list[Path]:
        """Return what a process has left that was killed; another one may be at work now."""
        return list(self.folder.glob(f"{NEW}*"))

    def busy(self) -> bool:
        """Return whether a process makes a layer now."""
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(self.folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return not _taken(lock, fcntl.LOCK_SH)
            finally:
                os.close(lock)
        return False

    def layers(self) -> list[Path]:
        """Return all layers, those used last at the end."""
        return layers(self.folder)

    @contextlib.contextmanager
    def using(self, names: Sequence[str]) -> Iterator[None]:
        """Keep these layers, as far as they are here, from being removed in the meantime."""
        with contextlib.ExitStack() as held:
            for name in names:
                with contextlib.suppress(OSError):
                    descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_DIRECTORY)
                    held.callback(os.close, descriptor)
                    fcntl.flock(descriptor, fcntl.LOCK_SH)
                    os.utime(descriptor)
            yield

    async def make(
        self, uv: Uv, scratch: Path, resolution: Resolution, target: Target, most_mb: float
    ) -> Path:
        """Install a target's packages; return the layer. The caller holds the lock.

        Raises `ProgramError` if they take more than ``most_mb`` or hold what has no place there.
        """
        place = self.folder / resolution.layer(target)
        if place.is_dir():
            return place
        new = scratch / target.name
        new.mkdir()
        await uv.install(resolution.targets[target.name], target, new / SITE)
        await in_thread(finish, new, resolution, most_mb)
        if target.python == ".".join(map(str, sys.version_info[:2])):
            await in_thread(compile_all, new / SITE, sys.executable)
        new.rename(place)
        for old in self.layers()[:-KEPT]:
            await in_thread(forget, old)
        return place


def finish(layer: Path, resolution: Resolution, most_mb: float) -> None:
    """Let all users read a layer and nobody write to it; check its size; write its contents."""
    site = layer / SITE
    site.mkdir(exist_ok=True)  # nothing was installed if all is there anyway
    total = 0
    for place, folders, files in os.walk(site):
        for path in (Path(place), *(Path(place, name) for name in (*folders, *files))):
            if path.is_symlink():
                raise ProgramError(f"a package brings the link {path.name}; do without it")
            mode = path.stat().st_mode
            path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)
        total += sum(Path(place, name).stat().st_size for name in files)
    if total > most_mb * MB:
        raise ProgramError(
            f"the packages take {total / MB:,.0f} MB unpacked; ask for fewer, or raise packages-mb "
            "of e3:limits"
        )
    (site / ".lock").unlink(missing_ok=True)  # uv's
    contents = {"stated": resolution.stated, "packages": found(str(site))}
    (layer / CONTENTS).write_text(json.dumps(contents))
    layer.chmod(0o755)


def packed(layer: Path) -> tuple[list[bytes], str]:
    """Return a layer as pieces of a compressed archive, and the SHA-256 of all; always the same."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz", compresslevel=6) as archive:
        for path in sorted(layer.rglob("*")):
            if "__pycache__" not in path.parts:
                archive.add(path, str(path.relative_to(layer)), recursive=False, filter=_plain)
    # the first bytes have a time: of the archive, and of no interest
    data = sink.getbuffer()
    data[4:8] = bytes(4)
    pieces = [bytes(data[at : at + PIECE_BYTES]) for at in range(0, len(data), PIECE_BYTES)]
    return pieces, hashlib.sha256(data).hexdigest()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
    return member


def shown(packages: Mapping[str, tuple[Package, ...]]) -> str:
    """Return packages and their size in words."""
    unique = {x.sha256 or x.file: x for each in packages.values() for x in each}.values()
    names = sorted({f"{x.name} {x.version}" for x in unique})
    size = sum(x.size for x in unique)
    many = f"{len(names)} package{'' if len(names) == 1 else 's'}"
    return f"{many}, {size / MB:,.1f} MB to download: {', '.join(names)}"


def _taken(descriptor: int, kind: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False


def forget(layer: Path) -> None:
    """Remove a layer unless a session uses it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(layer, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _taken(descriptor, fcntl.LOCK_EX):
                half = layer.with_name(f"{NEW}{layer.name}")
                layer.rename(half)  # at once: a half-removed one would be used
                _remove(half)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
