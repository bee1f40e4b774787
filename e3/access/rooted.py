"""Files below another root folder; no path leads out of it.

``/proc/PID/root`` leads into a host's own view of the files. A path there may hold symbolic
links, and the kernel would resolve an absolute one against *our* root; openat2(2) with
``RESOLVE_IN_ROOT`` (Linux 5.6) resolves it against the host's.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath

from e3.remote.linux import open_below

FOLDER_MODE = 0o755
"""The mode of new folders: any user of the host may enter them, whatever our umask."""


@contextlib.contextmanager
def opened(root: int, path: str, flags: int = os.O_PATH) -> Iterator[int]:
    """Open ``path`` below the folder ``root`` for the block; raise `OSError` as `os.open` does."""
    descriptor = open_below(root, path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read(root: int, path: str) -> bytes:
    """Return the content of the file ``path`` below ``root``."""
    # non-blocking: opening a pipe must not block for ever
    descriptor = open_below(root, path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def write(
    root: int, path: str, content: bytes, *, mode: int, owner: tuple[int, int] | None
) -> bool:
    """Ensure that ``path`` holds ``content`` with mode and owner; return whether it changed.

    A reader sees the old file or the new one. Missing folders are created. ``owner`` is user
    and group id, None leaves the file to the user that writes it.
    """
    place = PurePosixPath(path)
    with _folder(root, str(place.parent)) as folder:
        if _holds(folder, place.name, content, mode, owner):
            return False
        temporary = f".e3-{secrets.token_hex(8)}"  # short: the name itself may be the longest
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                if owner is not None:
                    os.fchown(descriptor, *owner)
                os.fchmod(descriptor, mode)
            os.rename(temporary, place.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            _unlink(folder, temporary)
            raise OSError(error.errno, error.strerror, path) from error
    return True


def make_folder(root: int, path: str) -> None:
    """Create the folder ``path`` below ``root`` with its parents, unless it exists."""
    reached = PurePosixPath("/")
    for part in PurePosixPath(path).parts[1:]:
        with opened(root, str(reached)) as parent, contextlib.suppress(FileExistsError):
            os.mkdir(part, FOLDER_MODE, dir_fd=parent)
            _open_to_all(parent, part)
        reached /= part


def _open_to_all(parent: int, name: str) -> None:
    """Undo what the umask took from the mode of a folder that was just made."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=parent)
    try:
        os.fchmod(descriptor, FOLDER_MODE)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _folder(root: int, path: str) -> Iterator[int]:
    """Open the folder ``path`` below ``root`` for the block; create it if needed."""
    flags = os.O_RDONLY | os.O_DIRECTORY
    try:
        descriptor = open_below(root, path, flags)
    except FileNotFoundError:
        make_folder(root, path)
        descriptor = open_below(root, path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _holds(
    folder: int, name: str, content: bytes, mode: int, owner: tuple[int, int] | None
) -> bool:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return False  # absent, a link, or not ours to read: written anew
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        return (
            stat.S_ISREG(status.st_mode)
            and stat.S_IMODE(status.st_mode) == mode
            and (owner is None or (status.st_uid, status.st_gid) == owner)
            and status.st_size == len(content)
            and file.read() == content
        )


def _unlink(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
