"""System calls that Python lacks, through the C library; for hosts and for labs.

Numbers and structures are those of the Linux UAPI headers (sched.h, mount.h, prctl.h, openat2.h).
A call that fails raises `OSError`, which names the call or the path.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 0x1, 0x2, 0x4, 0x8, 0x20
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 0x1000, 0x2000, 0x4000, 0x40000
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = 0x1, 0x2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_CAPBSET_DROP = 1, 4, 15, 24
PR_SET_TIMERSLACK, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 29, 36, 38

OPENAT2, MOUNT_SETATTR = 437, 442
"""The same numbers on every architecture; Linux 5.6 and 5.12."""

RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10

libc = ctypes.CDLL(None, use_errno=True)


def check(status: int, what: str) -> int:
    """Return the status of a call; raise `OSError`, which names ``what``, if it failed."""
    if status < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return status


def call(number: int, *arguments: Any, what: str) -> int:  # noqa: ANN401 -- what C takes
    """Make the system call of that number, and return its result."""
    return check(libc.syscall(ctypes.c_long(number), *arguments), what)


def prctl(option: int, value: int | bytes) -> None:
    """Change a property of this process (man 2 prctl)."""
    given = ctypes.c_ulong(value) if isinstance(value, int) else value
    check(libc.prctl(option, given, 0, 0, 0), "prctl")


def die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when ``parent``, the process that forked it, ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


def unshare(flags: int) -> None:
    """Move to new namespaces of the kinds in ``flags``."""
    check(libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """Enter the namespace that is open as ``descriptor``."""
    check(libc.setns(descriptor, flags), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount ``source`` on ``target``, which an error names."""
    arguments = [os.fsencode(value) or None for value in (source, target, kind)]
    status = libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None)
    check(status, target)


def unmount(target: str) -> None:
    """Detach the mount at ``target``."""
    check(libc.umount2(os.fsencode(target), MNT_DETACH), target)


def change_mount(target: str, *, add: int = 0, clear: int = 0, flags: int = 0) -> None:
    """Change the attributes of the mount at ``target``."""
    attributes = (ctypes.c_uint64 * 4)(add, clear, 0, 0)  # struct mount_attr
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    call(MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), flags, attributes, size, what=target)


def open_below(root: int, path: str, flags: int) -> int:
    """Open ``path`` below the folder ``root``; links and absolute paths never leave it."""
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    return call(OPENAT2, root, os.fsencode(path), how, size, what=path)
