"""The kernel features of a lab's host: network and process namespaces, mounts, its name.

The system calls are those of `e3.remote.linux`.
"""

import ctypes
import os
import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from e3.errors import PlatformError
from e3.remote.linux import (
    AT_RECURSIVE,
    CLONE_NEWNET,
    CLONE_NEWPID,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    PR_SET_NAME,
    PR_SET_PDEATHSIG,
    PR_SET_TIMERSLACK,
    change_mount,
    check,
    libc,
    mount,
    prctl,
    setns,
    unshare,
)

MOST_DESCRIPTORS = 1 << 16
CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "armv7l": 120, "armv6l": 120}


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    """Bind-mount the file or folder ``source`` at ``target``."""
    mount(source, target, flags=MS_BIND)
    if read_only:
        make_read_only(target)


def make_read_only(target: str) -> None:
    """Make the mount at ``target`` read-only, with all mounts below it."""
    change_mount(target, add=MOUNT_ATTR_RDONLY, flags=AT_RECURSIVE)


def set_hostname(name: str) -> None:
    """Set the hostname of the current UTS namespace."""
    encoded = name.encode()
    check(libc.sethostname(encoded, ctypes.c_size_t(len(encoded))), "sethostname")


def die_with_parent(parent: int) -> None:
    """Make the kernel kill this process when its parent dies, also by SIGKILL.

    ``parent`` is a pidfd of the process that forked this one: its number does not exist in
    a new PID namespace.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([parent], [], [], 0)[0]:  # it died before the call above
        os._exit(1)


def set_process_name(name: str) -> None:
    """Set the name of this process in process lists, at most 15 bytes."""
    prctl(PR_SET_NAME, name.encode())


def set_timer_slack(nanoseconds: int) -> None:
    """Set the most by which the kernel delays this thread's timers (default: 50,000)."""
    prctl(PR_SET_TIMERSLACK, nanoseconds)


def close_all_but(kept: Sequence[int]) -> None:
    """Close every descriptor but the standard ones and ``kept``: a daemon's must not outlive it."""
    bounds = [2, *sorted(kept), MOST_DESCRIPTORS]
    for before, after in pairwise(bounds):
        os.closerange(before + 1, after)


def new_network() -> int:
    """Return a descriptor of a new network namespace, which exists while it is open."""
    with _home():
        unshare(CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside_network(descriptor: int) -> Iterator[None]:
    """Run the block in the network namespace of ``descriptor``; children stay in it."""
    with _home():
        setns(descriptor, CLONE_NEWNET)
        yield


def has_ipv6() -> bool:
    """Return whether the kernel has IPv6."""
    return Path("/proc/sys/net/ipv6").is_dir()


@contextmanager
def _home() -> Iterator[None]:
    """Run the block, then return to the network namespace of before."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        setns(home, CLONE_NEWNET)
        os.close(home)


def fork_into_pid_namespace() -> int:
    """Fork as `os.fork` does, the child being the first process of a new PID namespace.

    It uses clone(2) rather than unshare(2), after which a process could not return to its own
    namespace without rights there. The interpreter's steps of a fork are those of its C API
    ("PyOS_BeforeFork" and its kin). Raises `OSError`.
    """
    machine = os.uname().machine
    if machine not in CLONE:
        known = ", ".join(sorted(CLONE))
        raise PlatformError(f"the lab does not know this machine's {machine}; it knows: {known}")
    python, own = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)
    python.PyOS_BeforeFork()
    pid: int = own.syscall(CLONE[machine], CLONE_NEWPID | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
        check(pid, "clone")
    return pid
