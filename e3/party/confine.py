"""The program's own process gives up what it does not need, before the program begins.

In this order, each step where the host permits it:

- a private view of the files: its session's folder, the interpreter, and empty folders in place
  of other sessions', of keys, of homes and of what other programs keep for the moment;
- limits of memory, processes and files, inherited by whatever it starts;
- a user of its own, which exists in no list and owns nothing but the program's folder;
- no way back: no capabilities, and no new privileges through set-user-ID programs.

What a host does not permit is told, never passed over: see `confine`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from e3.party.protocol import Spec

COVERED = (
    *("/dev/shm", "/home", "/root", "/run", "/srv", "/sys/fs/cgroup", "/tmp"),  # noqa: S108 -- empty ones of its own take their place
    *("/var/lib", "/var/log", "/var/tmp"),  # noqa: S108 -- the same
)
WRITABLE = frozenset({"/dev/shm", "/tmp", "/var/tmp"})  # noqa: S108 -- see above

FIRST_USER = 0x40000000
USERS = 0x30000000
"""User numbers that no list of users reaches, nor systemd or containers give out."""

CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 24, 38
CAPABILITY_VERSION_3 = 0x20080522
CAPABILITIES = 64

_libc = ctypes.CDLL(None, use_errno=True)


def confine(spec: Spec, folder: str) -> list[str]:
    """Confine this process; return what could not be done and why, one sentence each."""
    notes = []
    user = user_of(spec)
    try:
        hide(folder, spec.file_bytes)
    except OSError as error:
        notes.append(f"it sees the host's files: no mount namespace ({error.strerror})")
    for capability in range(CAPABILITIES):  # none to gain either, while that may still be said
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    try:
        own(folder, user)
        become(user)
    except OSError as error:
        who = "root of its namespace, without its powers" if not os.getuid() else "the host's user"
        notes.append(f"it runs as {who}: no user of its own ({error.strerror})")
        user = os.getuid()
    limit(spec, alone=user >= FIRST_USER)
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        notes.append("it can gain privileges: the kernel cannot forbid that")
    give_up_capabilities()
    os.environ["HOME"] = str(Path(folder, "program"))
    # NumPy starts a thread a core for linear algebra on floats, which MPyC's integers do not need,
    # and which wait by spinning: with several parties on one machine that is half of their start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return notes


def user_of(spec: Spec) -> int:
    """Return the user of a party: one for each, so that its processes can be counted."""
    name = f"{spec.session}:{spec.pid}".encode()
    return FIRST_USER + int.from_bytes(hashlib.sha256(name).digest()[:8]) % USERS


def hide(folder: str, size_bytes: int) -> None:
    """See ``folder``, the interpreter and the system; raises `OSError` where that is not allowed.

    A folder that others may not enter, such as /root, can lie above the interpreter: then
    only what is needed appears below it. Files in memory have ``size_bytes`` at most.
    """
    needed = {place: path for path in needs(folder) for place in (path, os.path.realpath(path))}
    covers = outermost({*map(os.path.realpath, COVERED), *closed_above(needed)})
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount("", "/", flags=MS_REC | MS_PRIVATE)
    # held open, as the mounts below cover them
    held = {place: os.open(path, os.O_PATH | os.O_CLOEXEC) for place, path in needed.items()}
    for cover in covers:
        mode = 1777 if cover in WRITABLE else 755
        options = f"mode={mode},size={size_bytes if cover in WRITABLE else 1 << 20}"
        mount("tmpfs", cover, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for place, descriptor in sorted(held.items()):
        if any(is_below(place, cover) for cover in covers):
            show(descriptor, place)
        os.close(descriptor)
    os.chdir(folder)  # not the folder of that name which is covered now


def needs(folder: str) -> Iterator[str]:
    """Yield what the program must see that may lie below a covered folder."""
    yield folder
    for path in {sys.prefix, sys.base_prefix, *sys.path, os.path.realpath("/etc/resolv.conf")}:
        if Path(path).is_absolute() and Path(path).exists() and not is_below(path, folder):
            yield path


def closed_above(places: dict[str, str]) -> Iterator[str]:
    """Yield the folders above ``places`` that another user cannot enter."""
    for place in places:
        for above in Path(place).parents:
            with suppress(OSError):
                if not above.stat().st_mode & 0o001 and not above.is_symlink():
                    yield str(above)


def outermost(folders: set[str]) -> list[str]:
    """Return those that exist and do not lie below another."""
    found = {folder for folder in folders if Path(folder).is_dir() and folder != "/"}
    return sorted(a for a in found if not any(a != b and is_below(a, b) for b in found))


def is_below(path: str, folder: str) -> bool:
    """Return whether ``path`` is ``folder`` or lies below it."""
    return Path(path).is_relative_to(folder)


def show(descriptor: int, place: str) -> None:
    """Have the file or folder that is open as ``descriptor`` at ``place``."""
    source = f"/proc/self/fd/{descriptor}"
    target = Path(place)
    if target.exists() and target.samefile(source):
        return  # it lies below one that is shown already
    if Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(source, place, flags=MS_BIND | MS_REC)


def own(folder: str, user: int) -> None:
    """Give what is in the session's folder to ``user``, but for the runner."""
    for place, folders, files in os.walk(folder):
        if place == folder:
            folders[:] = [name for name in folders if name != "runner"]
        for name in (*folders, *files):
            os.chown(Path(place, name), user, user, follow_symlinks=False)


def become(user: int) -> None:
    """Be ``user`` and its group, and no other; raises `OSError` where there is no such user."""
    for stream in (1, 2):
        os.fchown(stream, user, user)  # so that it can open /dev/stdout
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # else /proc/self is root's; the next user has another number, so nobody can look in
    _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def limit(spec: Spec, *, alone: bool) -> None:
    """Set the limits that the kernel holds; ``alone`` says that the user is this party's own."""
    limits = {
        resource.RLIMIT_CORE: 0,
        # what a process can write to, not what it maps: threads reserve far more than they use
        resource.RLIMIT_DATA: spec.memory_bytes,
        resource.RLIMIT_FSIZE: spec.file_bytes,
    }
    if alone:
        limits[resource.RLIMIT_NPROC] = spec.processes
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))


def give_up_capabilities() -> None:
    """Have no capability; root of a namespace keeps only its name."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _libc.capset(header, (ctypes.c_uint32 * 6)())


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Add a mount to what this process sees; raises `OSError` that names the target."""
    arguments = [os.fsencode(value) or None for value in (source, target, kind)]
    done = _libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None)
    _check(done, target)


def _check(status: int, what: str) -> None:
    if status < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
