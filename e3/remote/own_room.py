"""The first process of a room: namespaces of this machine in which somebody's program runs.

It runs as ``python -c``, in new user, network, mount, UTS, IPC and PID namespaces, whose user 0 is
the user who started it. All in the room ends with it, and it ends with its standard input.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x4000, 0x40000
SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
OWN = ("/run", "/var/lib")
"""Folders that the room has for itself, empty at first."""


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount ``source`` on ``target``; raise `OSError` that names it."""
    libc = ctypes.CDLL(None, use_errno=True)
    given = [os.fsencode(value) or None for value in (source, target, kind)]
    if libc.mount(*given, ctypes.c_ulong(flags), options.encode() or None) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def furnish(size_mb: int) -> None:
    """Give the room folders of its own, its own processes, and its loopback interface."""
    mount("", "/", "", MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for place in OWN:
        options = f"mode=755,size={size_mb}m"
        mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV, options)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh22x", b"lo", IFF_UP | IFF_RUNNING)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)


def say(line: str) -> None:
    """Tell the process that made the room."""
    os.write(1, f"{line}\n".encode())


def main() -> None:
    """Furnish the room, say so, and stay until the end of the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for E3 to handle
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # processes that lost their parents
    try:
        furnish(int(sys.argv[1]))
    except OSError as error:
        say(f"{error.filename or 'the loopback interface'}: {error.strerror}")
        return
    say("ready")
    while os.read(0, 4096):
        pass


if __name__ == "__main__":
    main()
