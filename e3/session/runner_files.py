"""The files of the party runner that are shipped to a host."""

import functools
import py_compile
import tempfile
from importlib.util import cache_from_source
from pathlib import Path

from e3 import party, remote
from e3.interfaces import File

SHARED = ("__init__", "linux", "processes", "text")
"""The modules of `e3.remote` that a party needs besides all of `e3.party`."""


@functools.cache
def runner_files() -> tuple[File, ...]:
    """Return the runner as files below a session's folder: the package and its name alone.

    Each source is shipped with its bytecode, which saves each party 25 ms. Only the Python
    version that made the bytecode uses it: its name has the version (PEP 3147). Dates are not
    compared (PEP 552), since files get a new date on each host.
    """
    shared = (Path(remote.__path__[0], f"{name}.py") for name in SHARED)
    sources = [*sorted(Path(party.__path__[0]).glob("*.py")), *shared]
    files = [File(path="runner/e3/__init__.py", content=b"")]
    for source in sources:
        place = f"runner/e3/{source.parent.name}/{source.name}"
        files.append(File(path=place, content=source.read_bytes()))
        files.append(File(path=cache_from_source(place), content=bytecode(source)))
    return tuple(files)


def bytecode(source: Path) -> bytes:
    """Return the bytecode of a source file, without a path of this machine."""
    with tempfile.NamedTemporaryFile(suffix=".pyc") as file:
        py_compile.compile(
            str(source),
            cfile=file.name,
            dfile=source.name,  # no path of this machine; the importing Python sets its own
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        return Path(file.name).read_bytes()
