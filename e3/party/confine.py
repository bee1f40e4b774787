"""The program's own process gives up what it does not need, before the program begins.

It gets, each where the host permits it:

- System V memory and message queues of its own (ipc_namespaces(7)), gone with its last process;
- a view of the files that it needs, and one place of limited size to write (`e3.party.view`);
- limits of memory, processes and files, inherited by whatever it starts;
- a user of its own, which is in no list of the host and owns only what it makes;
- no way back: no capabilities, no new privileges through set-user-ID programs, and no system calls
  that make namespaces, mounts or the like (`e3.party.seccomp`);
- no signals or abstract sockets to processes that it did not start (`e3.party.scope`).

The runner restricts its network, see `e3.party.network`. What a host does not permit is always
reported, see `confine`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from e3.party import inputs, outputs
from e3.party.inputs import Input
from e3.party.protocol import Spec
from e3.party.scope import keep_apart
from e3.party.seccomp import forbid_calls
from e3.party.view import PAGE_BYTES, Room, enter, user_name, walk
from e3.remote import linux

FIRST_USER = 0x40000000
USERS = 0x30000000
"""User numbers beyond those of lists of users, and beyond those of systemd and containers."""

CAPABILITY_VERSION_3 = 0x20080522
CAPABILITIES = 64


def confine(
    spec: Spec, folder: str, files: tuple[Input, ...], unfenced: str, runner: socket.socket
) -> list[str]:
    """Confine this process; return what could not be done and why, one sentence each.

    ``unfenced`` is why the runner could not restrict its network, empty where it could. The
    descriptors of the output folder and of the program's own go to the ``runner``. Raises
    `InputError` if one of the inputs, ``files``, cannot be copied.
    """
    notes = list(set_apart(spec, folder, files, runner))
    for capability in range(CAPABILITIES):  # while it is still permitted: none can be gained later
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
    os.environ["USER"] = os.environ["LOGNAME"] = user_name(user)
    os.environ[inputs.VARIABLE] = str(Path(folder, inputs.FOLDER))
    os.environ[outputs.VARIABLE] = str(Path(folder, outputs.FOLDER))
    # NumPy starts a thread a core for linear algebra on floats, which MPyC's integers do not need.
    # They spin while they wait: with several parties on one machine that is half of their start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return notes


def set_apart(
    spec: Spec, folder: str, files: tuple[Input, ...], runner: socket.socket
) -> Iterator[str]:
    """Give the program memory and files of its own; yield what could not be done."""
    try:
        linux.unshare(linux.CLONE_NEWIPC)
    except OSError as error:
        yield f"it shares the host's System V memory: no IPC namespace ({error.strerror})"
    else:
        bound_shared_memory(spec.file_bytes)
    room = Room(
        most_bytes=spec.file_bytes,
        user=user_of(spec),
        output_bytes=spec.output_bytes,
        output_files=spec.output_files,
        inputs=files,
    )
    try:
        output = enter(folder, room)
    except OSError as error:
        yield f"it sees the host's files: no mount namespace ({error.strerror})"
        output = make_folder(Path(folder, outputs.FOLDER), room.user)
        Path(folder, inputs.FOLDER).mkdir()
        inputs.copy(files, Path(folder, inputs.FOLDER), room.user)
    inputs.link(files, folder, spec.entry)
    program = os.open(Path(folder, "program"), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    socket.send_fds(runner, [b"."], [output, program])
    for descriptor in (output, program):
        os.close(descriptor)


def make_folder(place: Path, user: int) -> int:
    """Make an output folder on the host's own disk; return a descriptor."""
    place.mkdir(0o700)
    with suppress(OSError):  # see `become`
        os.chown(place, user, user)
    return os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def forbid_the_rest() -> Iterator[str]:
    """Give up the rights to undo all this, as the last step; yield what could not be done."""
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
    """Limit all System V memory of this namespace together to ``most_bytes``."""
    with suppress(OSError):
        Path("/proc/sys/kernel/shmall").write_text(str(most_bytes // PAGE_BYTES + 1))


def own(folder: str, user: int) -> None:
    """Give the program's folder and all in it to ``user``."""
    program = Path(folder, "program")
    for name in ("", *(name for name, _ in walk(program))):
        os.chown(program / name, user, user, follow_symlinks=False)


def become(user: int) -> None:
    """Become ``user`` and its group alone; raise `OSError` where that is not permitted."""
    for stream in (1, 2):
        os.fchown(stream, user, user)  # so that it can open /dev/stdout
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # else /proc/self belongs to root; no other party has this user, so none can look in
    linux.prctl(linux.PR_SET_DUMPABLE, 1)


def limit(spec: Spec, *, alone: bool) -> None:
    """Set the kernel's limits; ``alone`` says that the user is this party's own."""
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
    """Give up all capabilities; root of a namespace then has no rights but its name."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    linux.libc.capset(header, (ctypes.c_uint32 * 6)())
