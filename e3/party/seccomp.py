"""A filter of the system calls that a program may not use, inherited by all that it starts.

It holds for every user, whatever its rights; also, a program cannot make a namespace to become root
of. A refused call fails as on a kernel that lacks or forbids it, so that libraries use their
fallbacks and programs fail with a plain error.

The filter is a list of instructions of the classic Berkeley Packet Filter (linux/seccomp.h,
linux/filter.h); its numbers are those of each architecture's table of system calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from e3.remote.linux import call

Instruction = tuple[int, int, int, int]
"""Code, how many instructions to skip if it holds, how many if not, and a number."""

LOAD, EQUAL, ABOVE, ANY_OF, AND, RETURN = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
ALLOW: Instruction = (RETURN, 0, 0, 0x7FFF0000)
ERRNO = 0x00050000

NUMBER, ARCHITECTURE = 0, 4
"""Offsets in struct seccomp_data; `argument` has those that follow."""

SET_MODE_FILTER, FLAG_SPEC_ALLOW = 1, 4
"""The flag keeps Linux before 5.16 from slowing the program down by its mitigations."""

LAST_KNOWN = 469
"""file_setattr(2), Linux 6.17; the filter refuses calls of later versions."""

NEW_NAMESPACES = 0x7E020000
"""All of CLONE_NEW* that clone(2) takes."""

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
NETLINK_ROUTE = 0
"""Addresses, interfaces and routes, which getaddrinfo(3) and getifaddrs(3) ask for."""

SOCK_TYPE_MASK, SOCK_RAW = 0xF, 3
INET_PROTOCOLS = (0, 1, 6, 17, 58, 262)
"""The default of the type, ICMP, TCP, UDP, ICMPv6, and multipath TCP."""

EVERYWHERE = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "open_tree_attr": 467,
}
"""Refused calls whose numbers are the same on every architecture."""

CLONE3 = 435


def numbers(text: str) -> dict[str, int]:
    """Return system calls by name, from a list of ``name number``."""
    pairs = (entry.split() for entry in text.split(","))
    return {name: int(number) for name, number in pairs}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Numbers of an architecture; the range ``private`` is above all others and stays allowed."""

    audit: int
    clone: int
    socket: int
    socketpair: int
    seccomp: int
    refused: Mapping[str, int]
    private: tuple[int, int] | None = None


X86_64 = Table(
    audit=0xC000003E,
    clone=56,
    socket=41,
    socketpair=53,
    seccomp=317,
    refused=numbers(
        """
        ptrace 101, syslog 103, modify_ldt 154, pivot_root 155, chroot 161, acct 163,
        settimeofday 164, mount 165, umount2 166, swapon 167, swapoff 168, reboot 169,
        sethostname 170, setdomainname 171, iopl 172, ioperm 173, init_module 175,
        delete_module 176, quotactl 179, nfsservctl 180, lookup_dcookie 212,
        clock_settime 227, kexec_load 246, add_key 248, request_key 249, keyctl 250,
        unshare 272, perf_event_open 298, fanotify_init 300, name_to_handle_at 303,
        open_by_handle_at 304, setns 308, process_vm_readv 310, process_vm_writev 311,
        kcmp 312, finit_module 313, kexec_file_load 320, bpf 321, userfaultfd 323
        """
    ),
)

GENERIC = numbers(
    """
    lookup_dcookie 18, umount2 39, mount 40, pivot_root 41, nfsservctl 42, chroot 51,
    quotactl 60, acct 89, unshare 97, kexec_load 104, init_module 105, delete_module
    106, clock_settime 112, syslog 116, ptrace 117, reboot 142, sethostname 161,
    setdomainname 162, settimeofday 170, add_key 217, request_key 218, keyctl 219,
    swapon 224, swapoff 225, perf_event_open 241, fanotify_init 262, name_to_handle_at
    264, open_by_handle_at 265, setns 268, process_vm_readv 270, process_vm_writev 271,
    kcmp 272, finit_module 273, bpf 280, userfaultfd 282, kexec_file_load 294
    """
)
"""From asm-generic/unistd.h, which all newer architectures share."""

AARCH64 = Table(
    audit=0xC00000B7, clone=220, socket=198, socketpair=199, seccomp=277, refused=GENERIC
)
RISCV64 = Table(
    audit=0xC00000F3, clone=220, socket=198, socketpair=199, seccomp=277, refused=GENERIC
)
ARM = Table(
    audit=0x40000028,
    clone=120,
    socket=281,
    socketpair=288,
    seccomp=383,
    private=(0x0F0000, 0x0F000F),
    refused=numbers(
        """
        mount 21, ptrace 26, acct 51, umount2 52, chroot 61, sethostname 74,
        settimeofday 79, swapon 87, reboot 88, syslog 103, swapoff 115, setdomainname
        121, init_module 128, delete_module 129, quotactl 131, nfsservctl 169,
        pivot_root 218, lookup_dcookie 249, clock_settime 262, add_key 309, request_key
        310, keyctl 311, unshare 337, kexec_load 347, perf_event_open 364, fanotify_init
        367, name_to_handle_at 370, open_by_handle_at 371, setns 375, process_vm_readv
        376, process_vm_writev 377, kcmp 378, finit_module 379, bpf 386, userfaultfd
        388, kexec_file_load 401, clock_settime64 404
        """
    ),
)

TABLES: Mapping[tuple[str, int], Table] = {
    ("x86_64", 64): X86_64,
    ("aarch64", 64): AARCH64,
    ("riscv64", 64): RISCV64,
    # a 64-bit kernel runs 32-bit programs as well, and uname(2) names the kernel
    **{(machine, 32): ARM for machine in ("armv6l", "armv7l", "armv8l", "aarch64")},
}
"""By uname(2) and the bits of a pointer."""


def forbid_calls() -> None:
    """Refuse system calls to this process, and to all that it starts, from now on.

    The process must have given up new privileges before. Raises `OSError` or `LookupError` where
    the filter is not possible.
    """
    machine, bits = os.uname().machine, struct.calcsize("P") * 8
    table = TABLES.get((machine, bits))
    if table is None:
        raise LookupError(f"their numbers on {machine} of {bits} bits are not known")
    code = b"".join(struct.pack("=HBBI", *one) for one in program(table))
    text = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("@HP", len(code) // 8, ctypes.addressof(text))
    given = ctypes.c_char_p(filter_)
    call(table.seccomp, SET_MODE_FILTER, FLAG_SPEC_ALLOW, given, what="seccomp")


def program(table: Table) -> list[Instruction]:
    """Return the filter's instructions for an architecture."""
    private = table.private or (LAST_KNOWN, LAST_KNOWN)
    return [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, table.audit),
        refuse(
            errno.EPERM
        ),  # the numbers of another architecture, such as 32 bits, mean other calls
        (LOAD, 0, 0, NUMBER),
        # unknown calls, new ones and those of x32 on x86-64, fail as if missing
        (ABOVE, 0, 4, LAST_KNOWN),
        (ABOVE, 0, 2, private[0] - 1),
        (ABOVE, 1, 0, private[1]),
        ALLOW,
        refuse(errno.ENOSYS),
        # its flags are in memory, which no filter can read; C libraries then call clone
        *when(CLONE3, [refuse(errno.ENOSYS)]),
        *when(
            table.clone, [argument(0), (ANY_OF, 0, 1, NEW_NAMESPACES), refuse(errno.EPERM), ALLOW]
        ),
        *when(table.socket, sockets()),
        *when(
            table.socketpair,
            [argument(0), (EQUAL, 0, 1, AF_UNIX), ALLOW, refuse(errno.EAFNOSUPPORT)],
        ),
        *(
            instruction
            for number in sorted({*table.refused.values(), *EVERYWHERE.values()})
            for instruction in when(number, [refuse(errno.EPERM)])
        ),
        ALLOW,
    ]


def sockets() -> list[Instruction]:
    """Return the rules for socket(2): its families, and the types and protocols of IP."""
    internet = [
        argument(1),
        (AND, 0, 0, SOCK_TYPE_MASK),
        (ABOVE, 0, 1, SOCK_RAW),
        refuse(errno.ESOCKTNOSUPPORT),
        argument(2),
        *(one for protocol in INET_PROTOCOLS for one in when(protocol, [ALLOW])),
        refuse(errno.EPROTONOSUPPORT),
    ]
    netlink = [argument(2), *when(NETLINK_ROUTE, [ALLOW]), refuse(errno.EPROTONOSUPPORT)]
    return [
        argument(0),
        *when(AF_UNIX, [ALLOW]),
        *when(AF_NETLINK, netlink),
        (EQUAL, 1, 0, AF_INET),
        (EQUAL, 0, len(internet), AF_INET6),
        *internet,
        refuse(errno.EAFNOSUPPORT),
    ]


def when(value: int, then: list[Instruction]) -> list[Instruction]:
    """Return instructions that do ``then`` if ``value`` is what was loaded last."""
    return [(EQUAL, 0, len(then), value), *then]


def argument(index: int) -> Instruction:
    """Load the lower half of a call's argument, which is first on all these machines."""
    return (LOAD, 0, 0, 16 + 8 * index)


def refuse(code: int) -> Instruction:
    """Return the instruction that makes the call fail with an error."""
    return (RETURN, 0, 0, ERRNO | code)
