"""The files that a program sees of its host: those on a list of what it needs, and no others.

In a mount namespace of the program's own, a new root in memory replaces the host's. It has, all
read-only, the system's programs and libraries, the interpreter with its packages, the few files of
/etc that libraries read, devices that store nothing, and the program's own processes. The program
can write to one file system in memory, limited in bytes and in files, and to another one, its
output folder. Its inputs are copied to a third one, which is then read-only. All disappear with the
program's last process, without a clean-up; only the runner still holds the output folder.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from e3.party.editables import editables
from e3.party.inputs import FOLDER as INPUT
from e3.party.inputs import Input
from e3.party.inputs import copy as copy_inputs
from e3.party.outputs import FOLDER as OUTPUT
from e3.party.protocol import RUNNER
from e3.remote.linux import (
    AT_RECURSIVE,
    CLONE_NEWNS,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_MOVE,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    change_mount,
    libc,
    mount,
    unmount,
    unshare,
)

SYSTEM = (
    *("/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr"),
    *("/gnu/store", "/nix/store", "/run/current-system"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node"),
)
"""Programs and libraries, and the number of processors; nothing private is there."""

ETC = (
    *("alternatives", "ca-certificates", "crypto-policies", "fonts", "gai.conf", "host.conf"),
    *("hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.conf", "localtime"),
    *("mime.types", "nsswitch.conf", "os-release", "pki", "protocols", "resolv.conf"),
    *("services", "ssl", "static", "terminfo", "timezone"),
)
"""The files of /etc that libraries read; ``passwd`` and ``group`` are made for the program."""

DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
SHARED = ("/dev/shm", "/tmp", "/var/tmp")  # noqa: S108 -- empty ones of its own
DISK = "proc"
"""Where the program's file system is mounted first; /proc is mounted over it later."""

FILES = 16_384
"""The most files and folders that a program can make, besides its own."""
ROOT_BYTES = 4 << 20
PAGE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Room:
    """Where a program may write: ``most_bytes`` in all, owned by ``user``.

    Its output folder has room for ``output_bytes`` in ``output_files`` besides. It has ``inputs``.
    """

    most_bytes: int
    user: int
    output_bytes: int
    output_files: int
    inputs: tuple[Input, ...]


def enter(folder: str, room: Room) -> int:
    """Make the program's view the root; return a descriptor of its output folder.

    Raises `OSError`, and changes nothing, if that fails; `InputError` if an input cannot be copied.
    """
    unshare(CLONE_NEWNS)
    mount("", "/", flags=MS_REC | MS_PRIVATE)
    root = Path(folder, "program")  # it exists already, in case the host's disk is full
    shipped = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mount("tmpfs", str(root), "tmpfs", MS_NOSUID | MS_NODEV, f"mode=755,size={ROOT_BYTES}")
        try:
            build(root, folder, make_disk(root, Path(f"/proc/self/fd/{shipped}"), room), room.user)
            lay_inputs(below(root, f"{folder}/{INPUT}"), room)
            output = make_output(below(root, f"{folder}/{OUTPUT}"), room)
            pivot(root)
        except OSError:
            with suppress(OSError):
                unmount(str(root))
            raise
    finally:
        os.close(shipped)
    os.chdir(folder)
    return output


def lay_inputs(place: Path, room: Room) -> None:
    """Copy the inputs to a file system in memory of just their size, which is then read-only."""
    if not room.inputs:
        return
    pages = sum(-(-each.size // PAGE_BYTES) for each in room.inputs)
    folders = sum(each.name.count("/") for each in room.inputs)
    options = f"mode=500,size={(pages + 1) * PAGE_BYTES},nr_inodes={len(room.inputs) + folders + 2}"
    flags = MS_NOSUID | MS_NODEV
    mount("tmpfs", str(place), "tmpfs", flags, options)
    copy_inputs(room.inputs, place, room.user)
    mount("tmpfs", str(place), "tmpfs", flags | MS_REMOUNT | MS_RDONLY)


def make_output(place: Path, room: Room) -> int:
    """Make the output folder, a file system of limited size of its own; return a descriptor.

    While the descriptor is open, what lies there can be read, also after the program's end.
    """
    # whole pages, since the kernel rounds up; the folder itself is one of the files
    size = max(room.output_bytes // PAGE_BYTES, 1) * PAGE_BYTES
    options = f"mode=700,size={size},nr_inodes={room.output_files + 1}"
    mount("tmpfs", str(place), "tmpfs", MS_NOSUID | MS_NODEV, options)
    with suppress(OSError):  # see `e3.party.confine.become`
        os.chown(place, room.user, room.user)
    return os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def build(root: Path, folder: str, disk: Path, user: int) -> None:
    """Build the view below ``root``; the program writes to ``disk``."""
    for place, source in needed(folder).items():
        if Path(source).is_symlink():
            put_link(root, place, Path(source).readlink())
        else:
            show(root, place, source)
    show_etc(root, user)
    show_devices(root)
    for place in (*(f"{folder}/{name}" for name in ("program", INPUT, OUTPUT)), "/dev/pts"):
        below(root, place).mkdir(parents=True, exist_ok=True)
    change(root, set_=MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, flags=AT_RECURSIVE)
    for writable in (disk, *(below(root, place) for place in SHARED)):
        change(writable, clear=MOUNT_ATTR_RDONLY)
    mount(str(disk / "program"), str(below(root, f"{folder}/program")), flags=MS_BIND)
    with suppress(OSError):  # few programs have a terminal
        options = "newinstance,ptmxmode=0666,mode=0620"
        mount("devpts", str(root / "dev/pts"), "devpts", MS_NOSUID | MS_NOEXEC, options)
    show_processes(root)


def needed(folder: str) -> dict[str, str]:
    """Return what is shown, by place: files, folders, and links to them."""
    places = {path: path for path in SYSTEM if os.path.lexists(path)}
    for path in (f"{folder}/{RUNNER}", *interpreter()):
        for place in (path, os.path.realpath(path)):
            # what is below a link is shown at its target
            if place != "/" and not any(is_below(place, shown) for shown in places):
                places[place] = os.path.realpath(path)
    return {
        place: source
        for place, source in sorted(places.items())
        if not any(place != other and is_below(place, other) for other in places)
    }


def interpreter() -> Iterator[str]:
    """Yield where this interpreter, its packages and its libraries are."""
    for path in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *sys.path}:
        if Path(path).is_absolute() and Path(path).exists():
            yield path
    yield from editables()
    mapped = {line.partition("/")[2] for line in Path("/proc/self/maps").read_text().splitlines()}
    for path in sorted(mapped):
        if path and Path("/", path).is_file():
            yield f"/{path}"


def is_below(path: str, folder: str) -> bool:
    """Return whether ``path`` is ``folder`` or lies below it."""
    return path == folder or path.startswith(f"{folder}/")


def below(root: Path, place: str) -> Path:
    """Return the path of a place before the view is entered."""
    return root / place.lstrip("/")


def put_link(root: Path, place: str, leads_to: str | Path) -> None:
    """Put a link into the view."""
    target = below(root, place)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(leads_to)


def show(root: Path, place: str, source: str) -> None:
    """Show the host's file or folder ``source`` in the view."""
    target = below(root, place)
    if Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(source, str(target), flags=MS_BIND | MS_REC)


def show_etc(root: Path, user: int) -> None:
    """Show the files of /etc that libraries read, and a list of users with the program's own."""
    etc = root / "etc"
    etc.mkdir()
    for name in ETC:
        source = os.path.realpath(f"/etc/{name}")
        if source.startswith(("/usr/", "/nix/store/")) and Path(source).exists():
            put_link(root, f"/etc/{name}", source)  # its target's name may be read: a time zone
        elif Path(source).is_dir():
            show(root, f"/etc/{name}", source)
        elif Path(source).is_file():
            with suppress(PermissionError):
                (etc / name).write_bytes(Path(source).read_bytes())
    for name, end in (("passwd", "::/:/bin/sh\n"), ("group", "\n")):
        lines = {0: "root", 65534: "nobody", user: user_name(user)}
        entries = (
            f"{word}:x:{number}:{number if name == 'passwd' else ''}"
            for number, word in lines.items()
        )
        (etc / name).write_text("".join(entry + end for entry in entries))


def user_name(user: int) -> str:
    """Return the name of a program's user."""
    return "party" if user else "root"


def show_devices(root: Path) -> None:
    """Show devices that store nothing, and the names of a process's own streams."""
    for name in DEVICES:
        if Path("/dev", name).exists():
            show(root, f"/dev/{name}", f"/dev/{name}")
    for name, leads_to in {**LINKS, "ptmx": "pts/ptmx"}.items():
        put_link(root, f"/dev/{name}", leads_to)


def change(place: Path, *, set_: int = 0, clear: int = 0, flags: int = 0) -> None:
    """Change the attributes of a mount, where the kernel can (Linux 5.12)."""
    with suppress(OSError):
        change_mount(str(place), add=set_, clear=clear, flags=flags)


def make_disk(root: Path, program: Path, room: Room) -> Path:
    """Make one file system of limited size for all that the program writes; return its path.

    It has the program as it was shipped, and empty folders in place of those that all programs of
    a host share.
    """
    entries = list(walk(program))
    own_bytes = sum(-(-info.st_size // PAGE_BYTES) * PAGE_BYTES for _, info in entries)
    options = f"mode=755,size={room.most_bytes + own_bytes},nr_inodes={FILES + len(entries)}"
    disk = root / DISK
    disk.mkdir()
    mount("tmpfs", str(disk), "tmpfs", MS_NOSUID | MS_NODEV, options)
    copy(program, disk / "program", entries, room.user)
    for place in SHARED:
        part = disk / place.strip("/").replace("/", "-")
        part.mkdir()
        part.chmod(0o1777)
        below(root, place).mkdir(parents=True)
        mount(str(part), str(below(root, place)), flags=MS_BIND)
    return disk


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what is below a folder, each folder before its content, however deep."""
    todo = [""]
    while todo:
        place = todo.pop()
        with os.scandir(folder / place) as entries:
            for entry in entries:
                name = f"{place}{entry.name}"
                yield name, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{name}/")


def copy(source: Path, target: Path, entries: list[tuple[str, os.stat_result]], user: int) -> None:
    """Copy a program as it was shipped; give it to ``user`` if that is permitted."""
    target.mkdir()
    for name, info in entries:
        if stat.S_ISDIR(info.st_mode):
            (target / name).mkdir()
        elif stat.S_ISLNK(info.st_mode):
            (target / name).symlink_to((source / name).readlink())
        else:
            (target / name).write_bytes((source / name).read_bytes())
    for name, info in [*entries, ("", source.stat())]:
        if not stat.S_ISLNK(info.st_mode):
            (target / name).chmod(stat.S_IMODE(info.st_mode))
        with suppress(OSError):  # see `e3.party.confine.become`
            os.chown(target / name, user, user, follow_symlinks=False)


def show_processes(root: Path) -> None:
    """Show the program's own processes, or all of the host's if no other way is left."""
    target = str(root / "proc")
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    for options in ("hidepid=2", ""):
        with suppress(OSError):
            mount("proc", target, "proc", flags, options)
            return
    mount("/proc", target, flags=MS_BIND | MS_REC)


def pivot(root: Path) -> None:
    """Make ``root`` this process's root, and detach the host's."""
    old = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        os.chdir(root)
        if libc.pivot_root(b".", b".") < 0:  # the host's root is no mount, or it is the initial one
            mount(".", "/", flags=MS_MOVE)
            os.chroot(".")
        os.fchdir(old)
        with suppress(OSError):
            unmount(".")
    finally:
        os.close(old)
    os.chdir("/")
