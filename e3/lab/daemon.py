"""The process that a lab lives in: ``python -m e3.lab.daemon FOLDER DESCRIPTOR``.

Only `e3.lab.client.start` starts it. That sends the settings over the socket ``DESCRIPTOR`` and
receives there whether the lab could be made. When this process dies, however suddenly, the kernel
kills every host (PR_SET_PDEATHSIG) and removes all namespaces.
"""

import fcntl
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from e3 import private
from e3.errors import LabError
from e3.impairments import Impairment
from e3.lab import linux, measurement, wire
from e3.lab.attachment import HostRequest
from e3.lab.host import SharedSettings
from e3.lab.state import LabState, is_running
from e3.lab.userspace import enter_namespaces

LOG = "lab.log"
RECORD = "lab.pid"
REQUEST_SECONDS = 10.0


class LabServer:
    """Answers requests one after another, and watches the hosts between them."""

    def __init__(self, folder: Path, state: LabState) -> None:
        """Listen in ``folder``."""
        self._state = state
        self._helpers: set[int] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with wire.short_path(folder) as path:
            self._listener.bind(path)
            Path(path).chmod(private.FILE_MODE)
        self._listener.listen(128)
        self._verbs: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "add_region": self._add_region,
            "remove_region": self._remove_region,
            "add_hosts": self._add_hosts,
            "remove_hosts": self._remove_hosts,
            "renumber_host": self._renumber_host,
            "reboot_nat": self._reboot_nat,
            "set_cable": self._set_cable,
            "set_rtt": self._set_rtt,
            "impair": self._impair,
            "set_processors": self._set_processors,
            "status": self._status,
        }

    def serve(self) -> None:
        """Answer until a client asks to stop."""
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            readable = select.select([self._listener.fileno(), woken], [], [])[0]
            if woken in readable:
                os.read(woken, 4096)
                self._state.reap()
                self._helpers = {pid for pid in self._helpers if is_running(pid)}
            if self._listener.fileno() in readable:
                connection, _ = self._listener.accept()
                with connection:
                    if not self._answer(connection):
                        return

    def _answer(self, connection: socket.socket) -> bool:
        """Answer one request; return False when it asked to stop."""
        connection.settimeout(REQUEST_SECONDS)
        try:
            request = wire.receive(connection)
            if request is None:
                return True
            verb = request.get("verb")
            if verb == "stop":
                self._state.end()
                wire.send(connection, {})
                return False
            if verb == "measure":  # takes seconds, so another process measures and answers
                self._helpers.add(measurement.fork(self._state, connection))
                return True
            wire.send(connection, self._perform(str(verb), request))
        except (OSError, ValueError) as error:  # the client left, or sent no valid request
            log(f"a request failed: {error}")
        return True

    def _perform(self, verb: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._verbs.get(verb, _unknown_verb)(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported to the client
            log(f"{verb}: {error!r}")
            return wire.from_error(error)

    def _add_region(self, request: dict[str, Any]) -> dict[str, Any]:
        self._state.add_region(request["name"])
        return {}

    def _remove_region(self, request: dict[str, Any]) -> dict[str, Any]:
        self._state.remove_region(request["name"])
        return {}

    def _add_hosts(self, request: dict[str, Any]) -> dict[str, Any]:
        made = self._state.add_hosts([HostRequest.read(*host) for host in request["hosts"]])
        return {"hosts": [self._state.describe_host(host) for host in made]}

    def _remove_hosts(self, request: dict[str, Any]) -> dict[str, Any]:
        self._state.remove_hosts(request["names"])
        return {}

    def _renumber_host(self, request: dict[str, Any]) -> dict[str, Any]:
        moved = self._state.renumber_host(request["name"])
        return {"host": self._state.describe_host(moved)}

    def _reboot_nat(self, request: dict[str, Any]) -> dict[str, Any]:
        self._state.reboot_nat(request["name"])
        return {}

    def _set_cable(self, request: dict[str, Any]) -> dict[str, Any]:
        self._state.set_cable(request["name"], whole=request["whole"])
        return {}

    def _set_rtt(self, request: dict[str, Any]) -> dict[str, Any]:
        self._state.set_rtt({(a, b): rtt_ms for a, b, rtt_ms in request["rtt_ms"]})
        return {}

    def _impair(self, request: dict[str, Any]) -> dict[str, Any]:
        self._state.impair({(a, b): Impairment(**values) for a, b, values in request["links"]})
        return {}

    def _set_processors(self, request: dict[str, Any]) -> dict[str, Any]:
        self._state.set_processors(request["shares"])
        return {}

    def _status(self, _request: dict[str, Any]) -> dict[str, Any]:
        self._state.reap()
        return self._state.describe()


def _unknown_verb(request: dict[str, Any]) -> dict[str, Any]:
    raise LabError(f"the lab does not know {request.get('verb')!r}; stop it and start it anew")


def main() -> int:
    """Leave the caller's session, create the lab, report that, and serve requests."""
    folder, parent = Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    parent.set_inheritable(False)
    if os.fork():
        os._exit(0)  # so that the lab has no parent that waits for it
    os.setsid()
    _redirect(folder)
    request = wire.receive(parent)
    if request is None:
        return 1
    os.environ["PATH"] = request["environment"]["PATH"]  # a user's own may lack ip(8)
    try:
        lock = _lock_folder(folder)
        in_user_namespace = enter_namespaces()
        state = LabState(
            SharedSettings(
                folder=str(folder),
                visible=tuple(request["visible"]),
                hidden=tuple(request["hidden"]),
                environment=request["environment"],
                disk_mb=request["disk_mb"],
                in_user_namespace=in_user_namespace,
            ),
            {(a, b): rtt_ms for a, b, rtt_ms in request["rtt_ms"]},
            os.pidfd_open(os.getpid()),
        )
        server = LabServer(folder, state)
    except Exception as error:  # noqa: BLE001 - the client reports it
        log(f"start: {error!r}")
        wire.send(parent, wire.from_error(error))
        return 1
    wire.send(parent, {"pid": os.getpid()})
    parent.close()
    try:
        server.serve()
    except LabError as error:
        log(str(error))
        return 1
    os.close(lock)
    return 0


def log(line: str) -> None:
    """Write a line to the lab's log."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - that is the log


def _redirect(folder: Path) -> None:
    os.umask(0o022)
    null = os.open("/dev/null", os.O_RDONLY)
    record = private.descriptor(folder / LOG, os.O_WRONLY | os.O_APPEND)
    for source, target in ((null, 0), (record, 1), (record, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(record)
    linux.set_process_name("e3-lab")


def _lock_folder(folder: Path) -> int:
    """Lock the record of this folder and write our process id there, so that it has one lab."""
    record = private.descriptor(folder / RECORD, os.O_RDWR)
    try:
        fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LabError(f"another lab runs in {folder}; stop it first") from None
    os.truncate(record, 0)
    os.write(record, str(os.getpid()).encode())
    return record


if __name__ == "__main__":
    sys.exit(main())
