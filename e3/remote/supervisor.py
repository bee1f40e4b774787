"""Keeps a service running where there is no systemd: one small process a service.

The service runs in a session of its own and is started again a second after it died. Its output is
kept in its folder, limited in size. If the supervisor ends, the service and whatever it started are
killed. The supervisor is controlled by signals: TERM ends it with its service, `RESTART` restarts
the service; HUP, USR1 and USR2 are passed on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from e3.remote.linux import die_with_parent
from e3.remote.processes import Family, adopt_orphans

RESTART = signal.SIGRTMIN
PASSED_ON = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
HEARD = (signal.SIGTERM, signal.SIGCHLD, RESTART, *PASSED_ON)
AGAIN_SECONDS = 1.0
END_SECONDS = 2.0
GONE_SECONDS = 30.0
LOG_BYTES = 1_000_000
PAUSE_SECONDS = 0.02


class Supervisor:
    """The supervised service whose files lie in ``folder``, as its manager."""

    def __init__(self, name: str, folder: Path) -> None:
        """Refer to the service; nothing is done yet."""
        del name
        self._folder = folder

    def exists(self) -> bool:
        """Return whether it is supervised."""
        try:
            with (self._folder / "held").open() as held:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False  # the supervisor that held it is gone

    def renew(self, reload: str | None) -> None:
        """Start or restart the service by its present script."""
        del reload
        if self.exists():
            self.restart()
        else:
            (self._folder / "status").unlink(missing_ok=True)
            _spawn(self._folder)
            self._await(lambda: self._status()["starts"] > 0)

    def restart(self) -> None:
        """Stop and start the service."""
        before = self._status()
        os.kill(before["supervisor"], RESTART)
        self._await(lambda: self._status()["starts"] > before["starts"])

    def revive(self) -> None:
        """Do nothing: the supervisor restarts a service that died."""

    def reload(self, name: str) -> None:
        """Send it the signal of that name."""
        os.kill(self._status()["supervisor"], getattr(signal, f"SIG{name}"))

    def up(self) -> bool:
        """Return whether the service runs."""
        return self.exists() and self._status()["child"] != 0

    def deaths(self) -> int:
        """Return how often the service ended by itself."""
        return int(self._status()["deaths"])

    def exit_report(self) -> tuple[str, bytes]:
        """Return how the service last ended, and the end of its log."""
        with contextlib.suppress(FileNotFoundError):
            return str(self._status()["end"]), (self._folder / "log").read_bytes()
        return str(self._status()["end"]), b""

    def remove(self) -> None:
        """Stop the service and its supervisor."""
        if self.exists():
            os.kill(self._status()["supervisor"], signal.SIGTERM)
            self._await(lambda: not self.exists())

    def _status(self) -> dict[str, Any]:
        try:
            values: dict[str, Any] = json.loads((self._folder / "status").read_text())
        except FileNotFoundError:
            return {"supervisor": 0, "child": 0, "starts": 0, "deaths": 0, "end": ""}
        return values

    @staticmethod
    def _await(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + GONE_SECONDS
        while not holds() and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)


def _spawn(folder: Path) -> None:
    """Start the supervisor as a daemon, independent of its caller."""
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.closerange(3, 256)
        os.chdir("/")
        _Supervision(folder).run()
    finally:
        os._exit(1)


class _Supervision:
    """The loop of the supervising process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = (folder / "held").open("w")
        fcntl.flock(self._held, fcntl.LOCK_EX)
        adopt_orphans()
        self._output, self._writing = os.pipe()
        self._heard, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._output, False)
        signal.set_wakeup_fd(wake)
        for number in HEARD:
            signal.signal(number, lambda *_: None)
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        self._poll.register(self._heard, select.POLLIN)
        self._family: Family | None = None
        self._again = 0.0
        self._known: dict[str, Any] = {
            "supervisor": os.getpid(),
            "child": 0,
            "starts": 0,
            "deaths": 0,
            "end": "",
        }

    def run(self) -> NoReturn:
        """Supervise until TERM."""
        try:
            self._start()
            while True:
                self._look(None if self._family else self._again - time.monotonic())
                if self._family is not None:
                    self._reap()
                elif time.monotonic() >= self._again:
                    self._start()
        finally:
            self._end()
            os._exit(0)

    def _look(self, seconds: float | None) -> None:
        limit = None if seconds is None else max(seconds, 0) * 1000
        for descriptor, _ in self._poll.poll(limit):
            if descriptor == self._output:
                self._log()
            else:
                for number in os.read(self._heard, 4096):
                    self._obey(number)

    def _obey(self, number: int) -> None:
        if number == signal.SIGTERM:
            raise SystemExit
        if number == RESTART:
            self._end()
            self._start()
        elif number in PASSED_ON and self._family is not None:
            os.kill(self._family.pid, number)

    def _start(self) -> None:
        supervisor = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                die_with_parent(supervisor)
                os.setsid()
                for number in HEARD:
                    signal.signal(number, signal.SIG_DFL)
                for number in (signal.SIGPIPE, signal.SIGXFSZ):
                    signal.signal(number, signal.SIG_DFL)  # Python ignores them
                for stream in (1, 2):
                    os.dup2(self._writing, stream)
                # by sh: the folder may be on a file system without execution
                os.execv("/bin/sh", ["sh", str(self._folder / "run")])  # noqa: S606
            finally:
                os._exit(1)
        self._family = Family(pid)
        self._note(child=pid, starts=int(self._known["starts"]) + 1)

    def _reap(self) -> None:
        """Reap the service and record its end, if it has ended by itself."""
        family = self._family
        if family is None or (family.reap() and family.status is None):
            return
        family.reap()
        if family.status is not None:
            how = f"exitcode {family.status}" if family.status >= 0 else f"signal {-family.status}"
            self._end()
            self._again = time.monotonic() + AGAIN_SECONDS
            self._note(child=0, deaths=int(self._known["deaths"]) + 1, end=how)

    def _end(self) -> None:
        """End the service by TERM; then kill what is left of it and of what it started."""
        family, self._family = self._family, None
        if family is None:
            return
        deadline = time.monotonic() + END_SECONDS
        if family.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(family.pid, signal.SIGTERM)
        while family.status is None and time.monotonic() < deadline:
            self._log()
            family.reap()
            time.sleep(PAUSE_SECONDS)
        family.kill()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})  # which `kill` has blocked
        self._log()

    def _log(self) -> None:
        path = self._folder / "log"
        with contextlib.suppress(BlockingIOError), path.open("ab") as log:
            while data := os.read(self._output, 65_536):
                log.write(data)
                log.flush()
                if log.tell() > LOG_BYTES:
                    path.rename(path.with_name("log.old"))
                    return

    def _note(self, **values: int | str) -> None:
        self._known.update(values)
        aside = self._folder / ".status"
        aside.write_text(json.dumps(self._known))
        aside.rename(self._folder / "status")
