"""The party runner as files to be shipped to a host."""

import functools
import py_compile
import tempfile
from importlib.util import cache_from_source
from pathlib import Path

from e3 import party
from e3.interfaces import File

NOT_RUNNER = frozenset({"carry.py", "onion.py", "probe.py", "tasks.py"})
"""Modules of `e3.party` that a party does not need."""


@functools.cache
def runner_files() -> tuple[File, ...]:
    """Return the runner as files below a session's folder: the package and its name alone.

    With each source goes its bytecode, which saves each party 25 ms. It is used by the Python
    version that made it; another one finds a name that is not its own (PEP 3147). No date is
    compared (PEP 552), as files get a new one on each host.
    """
    folder = Path(party.__path__[0])
    sources = [path for path in sorted(folder.glob("*.py")) if path.name not in NOT_RUNNER]
    return (
        File(path="runner/e3/__init__.py", content=b""),
        *(File(path=f"runner/e3/party/{path.name}", content=path.read_bytes()) for path in sources),
        *(
            File(path=cache_from_source(f"runner/e3/party/{path.name}"), content=_bytecode(path))
            for path in sources
        ),
    )


def _bytecode(source: Path) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".pyc") as file:
        py_compile.compile(
            str(source),
            cfile=file.name,
            dfile=source.name,  # no path of this machine; the importing Python sets its own
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        return Path(file.name).read_bytes()
