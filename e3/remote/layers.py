"""The packages of programs on a host: what it could use and has, and unpacking what was sent.

Runs as a script, ``python -I -c SOURCE VERB ...``, and prints one line of JSON. A *layer* is a
folder with the packages of one program for one kind of host. It is unpacked beside its place and
renamed, so that it is whole if it exists.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PINNED = ("gmpy2", "mpyc", "numpy")
"""What a party has anyway."""

PREFIX, NEW, PARTS = "layer-", ".new-", ".parts"
KEPT = 3
"""A host keeps the layers that were used last."""

BLOCK_BYTES = 1 << 20
UNTESTED = r"[/\\]tests?[/\\]"
"""The tests of packages are half of their files, and no program imports them."""


class Joined:
    """Reads files one after another, and computes the digest of all."""

    def __init__(self, paths: list[Path]) -> None:
        """Read ``paths`` in this order."""
        self._left = iter(paths)
        self._file: BinaryIO | None = None
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes, none at the end."""
        while True:
            if self._file is None:
                path = next(self._left, None)
                if path is None:
                    return b""
                self._file = path.open("rb")
            data = self._file.read(size)
            if data:
                self.digest.update(data)
                return data
            self._file.close()
            self._file = None


def look(*stores: str) -> dict[str, object]:
    """Return what decides which packages this host can use, and the layers in these folders."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 -- slow to load

    known = {}
    for name in PINNED:
        with contextlib.suppress(PackageNotFoundError):
            known[name] = version(name)
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "implementation": sys.implementation.name,
        "machine": os.uname().machine,
        "bits": sys.maxsize.bit_length() + 1,
        "libc": libc(),
        "versions": known,
        "stores": [
            {
                "path": os.path.realpath(store),
                "layers": [path.name for path in layers(Path(store))][:1000],
                "free_bytes": free_bytes(Path(store)),
            }
            for store in stores
        ],
    }


def libc() -> str:
    """Return the C library as ``glibc 2.36`` or ``musl``; empty if it is another."""
    with contextlib.suppress(ValueError, OSError):
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    return "musl" if "musl" in str(sysconfig.get_config_var("SOABI")) else ""


def free_bytes(place: Path) -> int:
    """Return the bytes that are free where a folder is or would be."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def unpack(store: str, name: str, digest: str) -> dict[str, object]:
    """Make the layer ``name`` of the parts that were sent, whose SHA-256 is ``digest``."""
    with locked(Path(store)) as folder:
        place, parts = folder / name, folder / f"{name}{PARTS}"
        if not place.is_dir():
            new = folder / f"{NEW}{name}"
            try:
                joined = Joined(sorted(parts.iterdir()))
                extract(joined, new)
                if joined.digest.hexdigest() != digest:
                    shutil.rmtree(parts)
                    raise ValueError("did not get what was sent; run the session again")
                compile_all(new / "site", sys.executable)
                new.rename(place)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        os.utime(place)
        for old in (*folder.glob(f"*{PARTS}"), *layers(folder)[:-KEPT]):
            shutil.rmtree(old, ignore_errors=True)
    return {"path": str(place)}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Hold the lock of a store; remove what a process that was killed has left half-made."""
    for place in reversed((folder, *folder.parents)):
        with contextlib.suppress(FileExistsError):
            place.mkdir(0o755)
            place.chmod(0o755)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for half in folder.glob(f"{NEW}*"):
            shutil.rmtree(half, ignore_errors=True)
        yield folder
    finally:
        os.close(descriptor)


def extract(source: Joined, target: Path) -> None:
    """Extract a compressed tar archive; refuse all but files and folders below ``target``."""
    target.mkdir()
    with tarfile.open(fileobj=source, mode="r|gz") as archive:  # type: ignore[call-overload]  # reads
        for member in archive:
            inside = not member.name.startswith("/") and ".." not in member.name.split("/")
            if not inside or not (member.isreg() or member.isdir()):
                raise ValueError(f"{member.name!r} has no place among packages")
            place = target / member.name
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
                place.chmod(0o755)
                continue
            content = archive.extractfile(member)
            with place.open("wb") as file:
                shutil.copyfileobj(content, file)
            place.chmod(member.mode & 0o755)
    while source.read(BLOCK_BYTES):
        pass  # what the archive's end leaves unread counts for the digest


def compile_all(site: Path, python: str) -> None:
    """Compile packages, which no party could: it only reads them."""
    command = [python, "-I", "-m", "compileall", "-q", "-q", "-j", "0", "-x", UNTESTED]
    command += ["--invalidation-mode", "unchecked-hash", str(site)]
    # some packages have files for other versions of Python
    nowhere = subprocess.DEVNULL
    subprocess.run(command, stdin=nowhere, stdout=nowhere, check=False, umask=0o022)


def layers(folder: Path) -> list[Path]:
    """Return the layers of a store, those that were used last at the end."""
    found = [path for path in folder.glob(f"{PREFIX}*") if path.suffix != PARTS]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def main(verb: str, *arguments: str) -> None:
    """Print the answer of a verb."""
    os.umask(0o022)
    try:
        answer = look(*arguments) if verb == "look" else unpack(*arguments)
    except ValueError as error:
        answer = {"refused": str(error)}
    except (OSError, EOFError, tarfile.TarError) as error:
        answer = {"refused": f"cannot take packages: {error}"}
    print(json.dumps(answer))  # noqa: T201 -- that is the answer


if __name__ == "__main__":
    main(*sys.argv[1:])
