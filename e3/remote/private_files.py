"""Private files of a host, for the deployer: `python -I -c SOURCE VERB FOLDER...`.

The request is the first line of standard input, as JSON; no name is in the command line, which any
user of the host can read. Each answer is a line of JSON. Folders are closed to other users.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

PIECE_BYTES = 49_152
LISTED = 1000
"""The most files that are listed; the others are counted."""

UNFINISHED = ".e3-"
STALE_SECONDS = 3600


def say(kind: str, **fields: object) -> None:
    """Answer with one line."""
    print(json.dumps({"e3": kind, "at": 0, **fields}), flush=True)  # noqa: T201 -- the answer


def below(folder: str, name: str) -> Path:
    """Return the path of a file in a folder; raise `ValueError` if its name leads out of it."""
    if any(part in {"", ".", ".."} for part in name.split("/")) or "\0" in name:
        raise ValueError(f"{name!r} is no path below the folder")
    return Path(folder, name)


def put(request: Mapping[str, Any], folder: str) -> None:
    """Write the bytes that follow the request to a file: all ``size`` of them, or none."""
    place = below(folder, request["name"])
    top = Path(folder)
    for above in reversed((place.parent, *place.parent.parents)):
        if above == top or above.is_relative_to(top):
            above.mkdir(0o700, exist_ok=True)
        else:
            above.mkdir(0o755, exist_ok=True)
    top.chmod(0o700)
    for old in top.glob(f"{UNFINISHED}*"):
        if old.stat().st_mtime < time.time() - STALE_SECONDS:
            old.unlink()
    unfinished = top / f"{UNFINISHED}{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as file:
            left = request["size"]
            while left and (piece := sys.stdin.buffer.read(min(left, PIECE_BYTES))):
                file.write(piece)
                left -= len(piece)
            file.flush()
            os.fsync(file.fileno())
        if not left:
            unfinished.rename(place)
            say("done")
    finally:
        unfinished.unlink(missing_ok=True)


def files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the regular files of a folder that a program would see, in the order of their names."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            with contextlib.suppress(OSError):  # removed meanwhile
                info = path.stat()
                if stat.S_ISREG(info.st_mode) and not name.startswith("."):
                    yield str(path.relative_to(folder)), info


def list_all(request: Mapping[str, Any], *folders: str) -> None:
    """List the files of each folder; ``which`` is its number."""
    del request
    listed = 0
    for which, folder in enumerate(folders):
        for name, info in files(Path(folder)):
            if listed < LISTED:
                shown = name.encode("utf-8", "backslashreplace").decode()
                say("listed", which=which, name=shown, size=info.st_size, changed=info.st_mtime)
            listed += 1
    say("total", files=listed)


def remove(request: Mapping[str, Any], folder: str) -> None:
    """Remove files of a folder, or all with it."""
    if request["names"] is None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
        say("done")
        return
    for name in request["names"]:
        place = below(folder, name)
        try:
            place.unlink()
        except (FileNotFoundError, NotADirectoryError):
            say("missing", name=name)
            continue
        for above in place.parents:
            if above == Path(folder) or not above.is_relative_to(folder):
                break
            with contextlib.suppress(OSError):  # it has other files
                above.rmdir()
    say("done")


def send(request: Mapping[str, Any], folder: str) -> None:
    """Send the files of a folder below this one."""
    top = below(folder, request["name"])
    if not top.is_dir():
        say("missing", name=request["name"])
        return
    for name, info in files(top):
        say("file", name=name, size=info.st_size)
        with (top / name).open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                say("piece", data=base64.b64encode(piece).decode())
    say("done")


VERBS: Mapping[str, Callable[..., None]] = {
    "put": put,
    "list": list_all,
    "remove": remove,
    "send": send,
}


def main(verb: str, *folders: str) -> None:
    """Read the request, and do what it asks for."""
    os.umask(0o077)
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return  # the deployer is gone
    try:
        VERBS[verb](json.loads(line), *folders)
    except OSError as error:
        say("failed", reason=f"{error.filename}: {error.strerror}")
    except ValueError as error:
        say("failed", reason=str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
