"""The system calls that make a host and that Python lacks, through the C library.

Numbers and structures are those of the Linux UAPI headers (sched.h, mount.h, prctl.h).
"""

import ctypes
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e3.errors import PlatformError

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_TIMERSLACK = 1, 15, 29

CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "armv7l": 120, "armv6l": 120}
MOUNT_SETATTR = 442  # the same number on every architecture; Linux 5.12
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY = 0x1

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave the namespaces that ``flags`` name for new ones; raises `OSError`."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """Enter the namespace that is open as ``descriptor``; raises `OSError`."""
    _check(_libc.setns(descriptor, flags), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount ``source`` on ``target``; raises `OSError` that names the target."""
    arguments = [value.encode() or None for value in (source, target, kind)]
    status = _libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None)
    _check(status, target)


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    """Show the file or folder ``source`` at ``target``, too."""
    mount(source, target, flags=MS_BIND)
    if read_only:
        make_read_only(target)


def make_read_only(target: str) -> None:
    """Make the mount at ``target`` read-only, with all mounts below it."""
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY, 0, 0, 0)  # struct mount_attr
    status = _libc.syscall(
        MOUNT_SETATTR,
        AT_FDCWD,
        target.encode(),
        AT_RECURSIVE,
        attributes,
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _check(status, target)


def set_hostname(name: str) -> None:
    """Name the host of the present UTS namespace."""
    encoded = name.encode()
    _check(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))), "sethostname")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, also by SIGKILL.

    ``parent`` is a pidfd of the process that forked this one: its number does not exist in
    a new PID namespace.
    """
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if select.select([parent], [], [], 0)[0]:  # it died before the call above
        os._exit(1)


def set_process_name(name: str) -> None:
    """Show this process as ``name`` (at most 15 bytes) in process lists."""
    _libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def set_timer_slack(nanoseconds: int) -> None:
    """Let the kernel delay this thread's timers by no more than that (default: 50,000)."""
    _check(_libc.prctl(PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0), "prctl")


def new_network() -> int:
    """Return a descriptor of a new network namespace; it lives while it is held open."""
    with _home():
        unshare(CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside_network(descriptor: int) -> Iterator[None]:
    """Be in the network namespace of ``descriptor``; children that are started stay in it."""
    with _home():
        setns(descriptor, CLONE_NEWNET)
        yield


def has_ipv6() -> bool:
    """Return whether the kernel speaks IPv6."""
    return Path("/proc/sys/net/ipv6").is_dir()


@contextmanager
def _home() -> Iterator[None]:
    """Return to the present network namespace at the end."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        setns(home, CLONE_NEWNET)
        os.close(home)


def fork_into_pid_namespace() -> int:
    """Fork as `os.fork` does, the child being the first process of a new PID namespace.

    clone(2) and not unshare(2), after which a process could not go back to its own namespace
    without rights there. The interpreter's own steps of a fork are those of its C API
    ("PyOS_BeforeFork" and its kin). Raises `OSError`.
    """
    machine = os.uname().machine
    if machine not in CLONE:
        known = ", ".join(sorted(CLONE))
        raise PlatformError(f"the lab does not know this machine's {machine}; it knows: {known}")
    python, libc = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)
    python.PyOS_BeforeFork()
    pid: int = libc.syscall(CLONE[machine], CLONE_NEWPID | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
        _check(pid, "clone")
    return pid


def _check(status: int, what: str) -> None:
    if status < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
