"""Services of a host: the host's side of the verbs `start` and `stop` of `SshAccess`.

A manager keeps a service running: `Systemd` where that runs and we are root, else `Supervisor`. A
service's folder has its start script, and a record of what was applied last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from e3.remote import framing
from e3.remote.supervisor import Supervisor
from e3.remote.systemd import Systemd

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.01, 0.2
CHECK_SECONDS = 60.0
LAST_LINES = 20
MANAGERS: dict[str, type[Supervisor | Systemd]] = {"supervisor": Supervisor, "systemd": Systemd}


def start(request: dict[str, Any]) -> None:
    """Start or update the service that ``service`` describes; answer once it is ready or died."""
    framing.begin()
    service, folder = request["service"], Path(request["folder"])
    manager = MANAGERS[request["manager"]](service["name"], folder)
    environment = framing.environment(request)
    script = run_script(service, environment)
    definition = repr((script, service["reload"], service["restart_on"]))
    wanted = {
        "definition": hashlib.sha256(definition.encode()).hexdigest(),
        "revision": service["revision"],
    }
    applied = _applied(folder)
    if not manager.exists() or applied.get("definition") != wanted["definition"]:
        _write(folder / "run", script)
        manager.renew(service["reload"])
        deaths = manager.deaths()
    else:
        deaths = manager.deaths()
        if applied != wanted:
            if service["reload"]:
                manager.reload(service["reload"])
            else:
                manager.restart()
                deaths = manager.deaths()
        else:
            manager.revive()
    if applied != wanted:
        _write(folder / "applied", json.dumps(wanted))
    _Check(service["ready"], environment).await_ready(manager, deaths)


def stop(request: dict[str, Any]) -> None:
    """Stop and remove the service and its folder; do nothing if it does not exist."""
    framing.begin()
    folder = Path(request["folder"])
    MANAGERS[request["manager"]](request["name"], folder).remove()
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()  # removed with the last service
    framing.answer({"done": True})


def run_script(service: dict[str, Any], environment: dict[str, str]) -> str:
    """Return the start script; it may have secrets, so only its owner may read it."""
    values = {**environment, **service["environment"]}
    # exported here and not given to env(1), whose command line anyone can read
    exports = [f"export {name}={shlex.quote(text)}" for name, text in values.items()]
    return "\n".join(["#!/bin/sh", "cd /", *exports, f"exec {shlex.join(service['argv'])}", ""])


class _Check:
    """The command that checks whether a service is ready; killed when the caller is gone."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self._argv = argv
        self._environment = environment
        self._running: subprocess.Popen[bytes] | None = None
        threading.Thread(target=self._end_with_caller, daemon=True).start()

    def await_ready(self, manager: Supervisor | Systemd, deaths: int) -> None:
        """Answer once the service is up and the check passes, or as soon as the service died."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            passed = manager.up() and self._passes() and manager.up()
            if manager.deaths() > deaths:
                end, log = manager.exit_report()
                lines = log.decode(errors="replace").splitlines()[-LAST_LINES:]
                framing.answer({"died": end, "lines": lines})
                return
            if passed:
                framing.answer({"done": True})
                return
            time.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    def _passes(self) -> bool:
        try:
            self._running = subprocess.Popen(
                self._argv,
                env=self._environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            return self._running.wait(CHECK_SECONDS) == 0
        except (OSError, subprocess.TimeoutExpired):
            self._kill()
            return False

    def _kill(self) -> None:
        if self._running is not None and self._running.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running.pid, 9)

    def _end_with_caller(self) -> None:
        while os.read(0, 4096):
            pass
        self._kill()
        os._exit(1)


def _applied(folder: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads((folder / "applied").read_text())
    except (OSError, ValueError):
        return {}
    return values


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(0o755, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.touch(0o700)
    aside.write_text(text)
    aside.rename(path)
