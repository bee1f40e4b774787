"""The files of the party runner that are shipped to a host."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

import msgspec

from e3 import party, private, remote
from e3.bytecode import bytecode
from e3.interfaces import File

SHARED = ("__init__", "linux", "processes", "text")
"""The modules of `e3.remote` that a party needs besides all of `e3.party`."""


@functools.cache
def runner_files() -> tuple[File, ...]:
    """Return the runner as files below a session's folder: the package and its name alone.

    Each source is shipped with its bytecode, which saves each party 25 ms.
    """
    shared = (Path(remote.__path__[0], f"{name}.py") for name in SHARED)
    sources = [*sorted(Path(party.__path__[0]).glob("*.py")), *shared]
    places = [f"runner/e3/{source.parent.name}/{source.name}" for source in sources]
    contents = [source.read_bytes() for source in sources]
    compiled = _kept(places, contents) or _compile(places, sources, contents)
    files = [File(path="runner/e3/__init__.py", content=b"")]
    for place, content in zip(places, contents, strict=True):
        files.append(File(path=place, content=content))
        files.append(File(path=cache_from_source(place), content=compiled[place]))
    return tuple(files)


def _kept(places: Sequence[str], contents: Sequence[bytes]) -> Mapping[str, bytes] | None:
    """Return the bytecode that an earlier process kept, by place; None if there is none."""
    with suppress(OSError, msgspec.DecodeError):
        kept = msgspec.msgpack.decode(_cache(contents).read_bytes(), type=dict[str, bytes])
        if kept.keys() == {*places}:
            return kept
    return None


def _compile(
    places: Sequence[str], sources: Sequence[Path], contents: Sequence[bytes]
) -> Mapping[str, bytes]:
    """Return the bytecode by place, and keep it for later processes where that is possible."""
    compiled = {place: bytecode(source) for place, source in zip(places, sources, strict=True)}
    cache = _cache(contents)
    with suppress(OSError):
        with suppress(FileExistsError):
            cache.parent.mkdir()
            cache.parent.chmod(0o755)  # where Pulumi runs, the umask closes what is made
        for older in cache.parent.glob("runner-*"):
            older.unlink()
        private.write(cache, msgspec.msgpack.encode(compiled))
        cache.chmod(0o644)  # both as Python's own: others may run or copy this checkout
    return compiled


def _cache(contents: Sequence[bytes]) -> Path:
    """Return where the bytecode of these sources by this Python is kept: beside Python's own.

    To compile them takes 0.1 s, which each session would spend.
    """
    digest = hashlib.sha256(MAGIC_NUMBER)
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return Path(party.__path__[0], "__pycache__", f"runner-{digest.hexdigest()[:32]}")
