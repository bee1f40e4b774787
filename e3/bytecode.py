"""Bytecode of Python sources that are sent to hosts, so that programs start sooner there."""

import py_compile
import tempfile
from pathlib import Path


def bytecode(source: Path, shown: str = "") -> bytes:
    """Return the bytecode of a source file, without a path of this machine.

    An importing Python sets the path that tracebacks show, except from an archive (PEP 273):
    ``shown`` is for those; default: the name of the file.

    Only the Python version that made it uses it: the name of its file has the version (PEP 3147,
    `importlib.util.cache_from_source`). Dates are not compared (PEP 552), since files get a new
    date on each host.
    """
    with tempfile.NamedTemporaryFile(suffix=".pyc") as file:
        py_compile.compile(
            str(source),
            cfile=file.name,
            dfile=shown or source.name,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        return Path(file.name).read_bytes()
