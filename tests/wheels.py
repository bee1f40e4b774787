"""Wheels for tests: packages of a few lines, written as an index would have them."""

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def wheel(  # noqa: PLR0913 -- what a wheel is made of, by keyword
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Mapping[str, str | bytes] | None = None,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
    compressed: bool = False,
) -> str:
    """Write the wheel of a package into ``folder``; return its SHA-256.

    Its module of that name has the version, unless ``files`` say otherwise.
    """
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    contents = {
        **(files if files is not None else {f"{name}.py": f"VERSION = {version!r}\n"}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    rows = [f"{info}/RECORD,,"]
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        for place, text in contents.items():
            data = text.encode() if isinstance(text, str) else text
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
            rows.append(f"{place},sha256={digest.decode()},{len(data)}")
            archive.writestr(zipfile.ZipInfo(place), data, kind)
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "\n".join(rows) + "\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()
