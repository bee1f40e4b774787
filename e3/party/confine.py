"""The program's own process gives up what it does not need, before the program begins.

In this order, each step where the host permits it:

- System V memory and message queues of its own (ipc_namespaces(7)), gone with its last process;
- a view of the files that has what it needs, and one bounded place to write (`e3.party.view`);
- limits of memory, processes and files, inherited by whatever it starts;
- a user of its own, which exists in no list of the host's and owns nothing but what it makes;
- no way back: no capabilities, no new privileges through set-user-ID programs, and none of the
  system calls that make namespaces, mounts or the like (`e3.party.seccomp`);
- no signal and no abstract socket reaches what it did not start (`e3.party.scope`).

Its network is fenced by the runner, see `e3.party.network`. What a host does not permit is told,
never passed over: see `confine`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from e3.party.protocol import Spec
from e3.party.scope import keep_apart
from e3.party.seccomp import forbid_calls
from e3.party.view import PAGE_BYTES, Room, enter, walk
from e3.remote import linux

FIRST_USER = 0x40000000
USERS = 0x30000000
"""User numbers that no list of users reaches, nor systemd or containers give out."""

CAPABILITY_VERSION_3 = 0x20080522
CAPABILITIES = 64


def confine(spec: Spec, folder: str, unfenced: str) -> list[str]:
    """Confine this process; return what could not be done and why, one sentence each.

    ``unfenced`` is why the runner could not fence its network, empty where it could.
    """
    notes = list(set_apart(spec, folder))
    for capability in range(CAPABILITIES):  # none to gain either, while that may still be said
        linux.libc.prctl(linux.PR_CAPBSET_DROP, capability, 0, 0, 0)
    user = user_of(spec)
    try:
        own(folder, user)
        become(user)
    except OSError as error:
        who = "root of its namespace, without its powers" if not os.getuid() else "the host's user"
        notes.append(f"it runs as {who}: no user of its own ({error.strerror})")
        user = os.getuid()
        unfenced = unfenced or "no user of its own to tell its packets by"
    if unfenced and spec.network != "open":
        notes.append(f"it reaches all that its host reaches: {unfenced}")
    limit(spec, alone=user >= FIRST_USER)
    notes += forbid_the_rest()
    os.environ["HOME"] = str(Path(folder, "program"))
    # NumPy starts a thread a core for linear algebra on floats, which MPyC's integers do not need,
    # and which wait by spinning: with several parties on one machine that is half of their start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return notes


def set_apart(spec: Spec, folder: str) -> Iterator[str]:
    """Have memory and files of the program's own; yield what could not be done."""
    try:
        linux.unshare(linux.CLONE_NEWIPC)
    except OSError as error:
        yield f"it shares the host's System V memory: no IPC namespace ({error.strerror})"
    else:
        bound_shared_memory(spec.file_bytes)
    try:
        enter(folder, Room(most_bytes=spec.file_bytes, user=user_of(spec)))
    except OSError as error:
        yield f"it sees the host's files: no mount namespace ({error.strerror})"


def forbid_the_rest() -> Iterator[str]:
    """Leave no way back, as the last of all; yield what could not be done."""
    try:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    except OSError:
        yield "it can gain privileges: the kernel cannot forbid that"
    give_up_capabilities()
    keep_apart()
    try:
        forbid_calls()
    except (OSError, LookupError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        yield f"it may make all system calls: no filter ({what})"


def user_of(spec: Spec) -> int:
    """Return the user of a party: one for each, so that its processes can be counted."""
    name = f"{spec.session}:{spec.pid}".encode()
    return FIRST_USER + int.from_bytes(hashlib.sha256(name).digest()[:8]) % USERS


def bound_shared_memory(most_bytes: int) -> None:
    """Let all System V memory of this namespace together be as large as files may be."""
    with suppress(OSError):
        Path("/proc/sys/kernel/shmall").write_text(str(most_bytes // PAGE_BYTES + 1))


def own(folder: str, user: int) -> None:
    """Give the program's folder to ``user``, with all that lies in it."""
    program = Path(folder, "program")
    for name in ("", *(name for name, _ in walk(program))):
        os.chown(program / name, user, user, follow_symlinks=False)


def become(user: int) -> None:
    """Be ``user`` and its group, and no other; raises `OSError` where there is no such user."""
    for stream in (1, 2):
        os.fchown(stream, user, user)  # so that it can open /dev/stdout
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # else /proc/self is root's; the next user has another number, so nobody can look in
    linux.prctl(linux.PR_SET_DUMPABLE, 1)


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
    linux.libc.capset(header, (ctypes.c_uint32 * 6)())
