"""Files of a host: the host's side of the verbs `put` and `get` of `SshAccess`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import secrets
import stat
from pathlib import Path
from typing import Any

from e3.remote import framing


def put(request: dict[str, Any]) -> None:
    """Write each of ``files`` (path, mode, owner, size, SHA-256) atomically if it differs.

    Only the contents of files that differ are requested. Without rights (``plain``) the user that
    writes a file owns it.
    """
    framing.begin()
    files = request["files"]
    try:
        owners = [None if request["plain"] else _ids(file) for file in files]
        wanted = [i for i, file in enumerate(files) if not _holds(file, owners[i])]
        framing.answer({"wanted": wanted})
        for i in wanted:
            _write(files[i], framing.read(files[i]["size"]), owners[i])
        framing.answer({"done": True})
    except OSError as error:
        framing.answer({"errno": error.errno, "reason": error.strerror, "path": error.filename})
    except LookupError as error:
        framing.answer({"refused": str(error.args[0])})


def get(request: dict[str, Any]) -> None:
    """Send the content of each of ``paths`` that exists."""
    framing.begin()
    found = {}
    try:
        for path in request["paths"]:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found[path] = _read(path)
    except OSError as error:
        framing.answer({"errno": error.errno, "reason": error.strerror, "path": error.filename})
        return
    framing.answer({"sizes": {path: len(content) for path, content in found.items()}})
    for content in found.values():
        framing.write(content)


def _read(path: str) -> bytes:
    # non-blocking: a pipe must not block us for ever
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        try:
            return file.read()
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error


def _ids(file: dict[str, Any]) -> tuple[int, int]:
    try:
        user = pwd.getpwnam(file["owner"])
    except KeyError:
        raise LookupError(
            f"has no user {file['owner']!r}, asked for as owner of {file['path']}"
        ) from None
    return user.pw_uid, user.pw_gid


def _holds(file: dict[str, Any], owner: tuple[int, int] | None) -> bool:
    try:
        # a link is replaced, whatever its target
        descriptor = os.open(file["path"], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    status = os.fstat(descriptor)
    alike = (
        stat.S_ISREG(status.st_mode)
        and stat.S_IMODE(status.st_mode) == file["mode"]
        and (owner is None or (status.st_uid, status.st_gid) == owner)
        and status.st_size == file["size"]
    )
    if not alike:
        os.close(descriptor)
        return False
    with os.fdopen(descriptor, "rb") as opened:
        digest: str = file["digest"]
        return hashlib.sha256(opened.read()).hexdigest() == digest


def _make_folder(place: Path) -> None:
    """Make a folder and those above it; `Path.mkdir` would recurse, and fail at 1000 levels."""
    if not place.is_dir():
        for folder in reversed((place, *place.parents)):
            folder.mkdir(0o755, exist_ok=True)


def _write(file: dict[str, Any], content: bytes, owner: tuple[int, int] | None) -> None:
    place = Path(file["path"])
    # a short name: the file's own may be as long as names can be
    temporary = place.with_name(f".e3-{secrets.token_hex(8)}")
    try:
        _make_folder(place.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, file["mode"])
        temporary.rename(place)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OSError(error.errno, error.strerror, file["path"]) from error
