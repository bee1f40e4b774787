"""The archive of the party runner that is shipped to a host."""

import functools
import hashlib
import io
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from e3 import party, private, remote
from e3.bytecode import bytecode
from e3.interfaces import File
from e3.party.protocol import RUNNER

SHARED = ("__init__", "linux", "processes", "text")
"""The modules of `e3.remote` that a party needs besides all of `e3.party`."""


@functools.cache
def runner_files() -> tuple[File, ...]:
    """Return the runner, a file below a session's folder: the package and its name alone.

    Python imports from the archive as it is (PEP 273). To write its hundred files would take each
    host 20 ms.
    """
    shared = (Path(remote.__path__[0], f"{name}.py") for name in SHARED)
    sources = [*sorted(Path(party.__path__[0]).glob("*.py")), *shared]
    contents = [source.read_bytes() for source in sources]
    cache = _cache(contents)
    archive = _kept(cache)
    if archive is None:
        archive = _pack(sources, contents)
        _keep(cache, archive)
    return (File(path=RUNNER, content=archive),)


def _pack(sources: Sequence[Path], contents: Sequence[bytes]) -> bytes:
    """Return the sources as an archive, each with its bytecode, which saves each party 25 ms."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:  # not compressed: Python would need zlib for it

        def add(place: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(place), content)  # the same date everywhere

        add("e3/__init__.py", b"")
        for source, content in zip(sources, contents, strict=True):
            place = f"e3/{source.parent.name}/{source.name}"
            add(f"{place}c", bytecode(source, place))
            add(place, content)
    return packed.getvalue()


def _kept(cache: Path) -> bytes | None:
    """Return the archive that an earlier process kept; None if there is none, or a damaged one."""
    with suppress(OSError, zipfile.BadZipFile):
        archive = cache.read_bytes()
        with zipfile.ZipFile(io.BytesIO(archive)) as content:
            if content.testzip() is None:
                return archive
    return None


def _keep(cache: Path, archive: bytes) -> None:
    """Keep the archive for later processes, where that is possible."""
    with suppress(OSError):
        with suppress(FileExistsError):
            cache.parent.mkdir()
            cache.parent.chmod(0o755)  # where Pulumi runs, the umask closes what is made
        for older in cache.parent.glob("runner-*"):
            older.unlink()
        private.write(cache, archive)
        cache.chmod(0o644)  # both as Python's own: others may run or copy this checkout


def _cache(contents: Sequence[bytes]) -> Path:
    """Return where the archive of these sources by this Python is kept: beside Python's own.

    To compile them takes 0.1 s, which each session would spend.
    """
    digest = hashlib.sha256(MAGIC_NUMBER)
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return Path(party.__path__[0], "__pycache__", f"runner-{digest.hexdigest()[:32]}.zip")
