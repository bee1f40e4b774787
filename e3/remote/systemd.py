"""Keeps a service running by systemd: a unit in /run/systemd/system, which is lost at a reboot.

The unit is a file rather than a call of systemd-run: it can be tested as data, is replaced in one
step, and puts neither the service's arguments nor its environment on a command line.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

UNITS = Path("/run/systemd/system")
COMMAND_SECONDS = 60.0
JOURNAL_LINES = 40


def unit(name: str, folder: Path, reload: str | None) -> str:
    """Return the unit that runs ``folder``/run; ``reload`` is the signal of a reload, if any."""
    # by sh: on Debian nothing in /run may be executed
    lines = [
        "[Unit]",
        f"Description=E3: {name}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart=/bin/sh {folder}/run",
        *([f"ExecReload=/bin/kill -{reload} $MAINPID"] if reload else []),
        "Restart=always",
        "RestartSec=1",
        "KillMode=control-group",
        "TimeoutStopSec=2",
        "StandardOutput=journal",
        "StandardError=journal",
        "",
    ]
    return "\n".join(lines)


class Systemd:
    """The service ``name`` as its manager; ``folder`` has its start script."""

    def __init__(self, name: str, folder: Path) -> None:
        """Refer to the service; nothing is done yet."""
        self._name = name
        self._folder = folder
        self._unit = f"e3-{name}.service"
        self._file = UNITS / self._unit

    def exists(self) -> bool:
        """Return whether the unit exists."""
        return self._file.exists()

    def renew(self, reload: str | None) -> None:
        """Write the unit, and start or restart the service by its present script."""
        UNITS.mkdir(parents=True, exist_ok=True)
        aside = self._file.with_name(f".{self._unit}")
        aside.write_text(unit(self._name, self._folder, reload))
        aside.rename(self._file)
        _call("systemctl", "daemon-reload")
        self.restart()

    def restart(self) -> None:
        """Stop and start the service."""
        _call("systemctl", "restart", self._unit)

    def revive(self) -> None:
        """Start the service if it was stopped."""
        _call("systemctl", "start", self._unit)

    def reload(self, name: str) -> None:
        """Send the reload signal, which is in the unit."""
        del name
        _call("systemctl", "reload", self._unit)

    def up(self) -> bool:
        """Return whether the service runs."""
        return self._show("ActiveState") == "active"

    def deaths(self) -> int:
        """Return how often systemd has restarted the service; a failure to start counts, too."""
        return int(self._show("NRestarts") or 0) + (self._show("ActiveState") == "failed")

    def exit_report(self) -> tuple[str, bytes]:
        """Return how the service last ended, and the end of its log."""
        end = f"{self._show('Result')}, exitcode {self._show('ExecMainStatus')}"
        lines = ["--no-pager", "--output=cat", f"--lines={JOURNAL_LINES}", f"--unit={self._unit}"]
        return end, _call("journalctl", *lines)

    def remove(self) -> None:
        """Stop the service and remove its unit; do nothing if it does not exist."""
        if self.exists():
            _call("systemctl", "stop", self._unit)
            self._file.unlink(missing_ok=True)
            _call("systemctl", "daemon-reload")
            _call("systemctl", "reset-failed", self._unit)

    def _show(self, name: str) -> str:
        return (
            _call("systemctl", "show", f"--property={name}", "--value", self._unit).decode().strip()
        )


def _call(*argv: str) -> bytes:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, check=False
    )
    return done.stdout
