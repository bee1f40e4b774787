"""What the owner of a host can change of the runner that E3 ships to it."""

import io
import zipfile
from dataclasses import replace

from e3.interfaces import File
from e3.party.protocol import RUNNER


def runner_changed(file: File, old: str, new: str) -> File:
    """Return the file with ``old`` replaced in the sources of the runner, if it is the runner."""
    if not file.path.endswith(f"/{RUNNER}"):
        return file
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(file.content)) as archive,
        zipfile.ZipFile(packed, "w") as changed,
    ):
        assert any(old.encode() in archive.read(name) for name in archive.namelist()), old
        for name in archive.namelist():
            if not name.endswith(".pyc"):  # without it, Python compiles the source
                content = archive.read(name).replace(old.encode(), new.encode())
                changed.writestr(zipfile.ZipInfo(name), content)
    return replace(file, content=packed.getvalue())
