"""A command that ends with its caller: `main` is the host's side of `SshAccess.run`.

The command's input comes in frames; when these end, or nothing comes for too long, the command
and all its descendants are killed. With ``pid_namespace``, descendants that outlive the command
are killed as well. Where the kernel permits it (root, no container that forbids it), the command
then runs in a PID namespace of its own: nothing survives, even if this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time
from typing import Any, NoReturn

from e3.remote import framing, linux
from e3.remote.linux import die_with_parent
from e3.remote.processes import Family, adopt_orphans

NO_SUCH_COMMAND, NOT_RUNNABLE = 127, 126
HELD_BYTES = 4 << 20
"""Of the command's input; beyond that, nothing is read from the caller until it takes some."""

LOOKS = 6
"""How often the clock is looked at before ``patience`` runs out."""


def main(request: dict[str, Any]) -> NoReturn:
    """Run ``argv`` with ``environment`` to its end, and end as it did; never returns.

    ``merge`` sends its standard error where its output goes, ``pid_namespace`` kills what it
    leaves behind. After ``patience`` seconds of silence the caller counts as gone.
    """
    framing.begin()
    parent = os.getpid()
    adopt_orphans()
    in_pid_namespace = request["pid_namespace"] and _enter_namespaces()
    reading, writing = os.pipe()
    telling, told = os.pipe()
    woken, wake = os.pipe()
    pid = os.fork()
    if pid == 0:
        for descriptor in (writing, telling, woken, wake):
            os.close(descriptor)
        # a parent outside of the namespace has the number 0 in it
        die_with_parent(0 if in_pid_namespace else parent)
        if in_pid_namespace:
            _be_first(request, reading, told)
        _become(request, reading)
    for descriptor in (reading, told):
        os.close(descriptor)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    family = Family(pid)
    CommandMonitor(family, writing, woken, request["patience"]).run()
    if request["pid_namespace"] or family.status is None:
        family.kill()
    status = family.status
    if in_pid_namespace:
        said = os.read(telling, 64)
        status = int(said) if said else status
    _end_as(status)


class CommandMonitor:
    """The loop that passes input on until the command has ended or the caller is gone."""

    def __init__(self, family: Family, stdin: int, woken: int, patience_seconds: float) -> None:
        """Watch ``family``, whose standard input is the pipe ``stdin``."""
        self.family = family
        self.over = False
        self._stdin: int | None = stdin
        self._woken = woken
        self._raw = b""
        self._held = b""
        self._ended = False
        self._heard = time.monotonic()
        self._patience_seconds = patience_seconds
        os.set_blocking(stdin, False)

    def run(self) -> None:
        """Return when the command has ended, or must end."""
        self.family.reap()  # it may have ended before the handler was installed
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        while not self.over and self.family.status is None:
            poll.register(0, select.POLLIN if len(self._held) < HELD_BYTES else 0)
            if self._stdin is not None:
                poll.register(self._stdin, select.POLLOUT if self._held else 0)
            ready = dict(poll.poll(self._patience_seconds * 1000 / LOOKS))
            if self._woken in ready:
                os.read(self._woken, 4096)
                self.family.reap()
            if self._stdin is not None and self._stdin in ready:
                self._pass_on(poll, ready[self._stdin])
            if 0 in ready:
                self._hear()
            if self._stdin is not None and self._ended and not self._held:
                self._close(poll)
            if time.monotonic() - self._heard > self._patience_seconds:
                self.over = True

    def _hear(self) -> None:
        data = os.read(0, 65_536)
        self.over = self.over or not data
        self._heard = time.monotonic()
        self._raw += data
        while len(self._raw) >= 4:  # noqa: PLR2004 -- the length of a length
            length = int.from_bytes(self._raw[:4], "big")
            size = 0 if length == framing.BEAT else length
            if len(self._raw) < 4 + size:
                return
            if length == framing.END:
                self._ended = True
            self._held += self._raw[4 : 4 + size] if self._stdin is not None else b""
            self._raw = self._raw[4 + size :]

    def _pass_on(self, poll: select.poll, events: int) -> None:
        if self._stdin is None:
            return
        try:
            if events & select.POLLOUT:
                self._held = self._held[os.write(self._stdin, self._held) :]
            elif events & (select.POLLERR | select.POLLHUP):
                self._close(poll)
        except BlockingIOError:
            pass
        except OSError:  # the command has closed its input
            self._close(poll)

    def _close(self, poll: select.poll) -> None:
        if self._stdin is not None:
            poll.unregister(self._stdin)
            os.close(self._stdin)
        self._stdin, self._held = None, b""


def _enter_namespaces() -> bool:
    """Give the next child a PID namespace of its own; return whether the kernel permits it."""
    try:
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWPID)
        linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    except OSError:
        return False
    return True


def _be_first(request: dict[str, Any], reading: int, told: int) -> NoReturn:
    """Start the command as a namespace's first process; reap all that end, report its status."""
    with contextlib.suppress(OSError):
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("proc", "/proc", "proc", flags)
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _become(request, reading)
    os.close(reading)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    while True:
        ended, status = os.wait()
        if ended == pid:
            os.write(told, b"%d" % os.waitstatus_to_exitcode(status))
            os._exit(0)


def _become(request: dict[str, Any], reading: int) -> NoReturn:
    """Become the command, as leader of a session of its own."""
    argv = request["argv"]
    try:
        os.setsid()
        os.dup2(reading, 0)
        os.close(reading)
        if request["merge"]:
            os.dup2(1, 2)
        os.chdir("/")
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them
        environment = framing.environment(request)
        os.execvpe(argv[0], argv, environment)  # noqa: S606 -- that is the purpose
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        missing = isinstance(error, FileNotFoundError)
        os._exit(NO_SUCH_COMMAND if missing else NOT_RUNNABLE)
    finally:
        os._exit(1)


def _end_as(status: int | None) -> NoReturn:
    """End as the command did, by the same signal if need be; by SIGKILL if nothing is known."""
    if status is not None and status >= 0:
        os._exit(status)
    number = signal.SIGKILL if status is None else -status
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(1)  # the signal is on its way
    os._exit(128 + number)
