"""The evidence of a session: a folder with the manifest, a log for each host, and the result."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from e3 import private
from e3.party.statement import installed
from e3.session.plan import Plan

LATEST = "latest"
"""A link beside the sessions' folders to the newest one: for ``tail -f``."""


class Evidence:
    """The folder of one session, written while it runs."""

    def __init__(self, sessions: Path, name: str) -> None:
        """Make the folder ``name`` below ``sessions``."""
        self.folder = sessions / name
        private.folder(sessions)
        self.folder.mkdir()
        private.folder(self.folder)
        self._manifest: dict[str, object] = {}
        link = sessions / f".{LATEST}-{name}"
        link.symlink_to(name)
        link.replace(sessions / LATEST)

    @property
    def id(self) -> str:
        """The name of the session, which is its folder's."""
        return self.folder.name

    @property
    def name(self) -> str:
        """The folder as results name it: relative to the working directory, if it lies below."""
        path = Path(os.path.relpath(self.folder))
        return str(self.folder if path.parts[:1] == ("..",) else path)

    def begin(
        self,
        plan: Plan,
        *,
        overlay: str,
        deadline_seconds: float,
        outputs: str,
        packages: Sequence[str],
    ) -> None:
        """Write the manifest: what is run, with which packages, by whom, since when."""
        self._manifest = {
            "id": self.id,
            "program": str(plan.program.path),
            "entry": plan.program.entry,
            "digest": plan.program.digest,
            "args": list(plan.program.args),
            "packages": list(packages),
            "overlay": overlay,
            "trigger": plan.trigger,
            "deadline_seconds": deadline_seconds,
            "outputs": outputs,
            "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "parties": [
                {
                    "pid": seat.pid,
                    "host": seat.host,
                    "address": seat.endpoint.address,
                    "port": seat.endpoint.port,
                }
                for seat in plan.seats
            ],
            "deployer": {"python": platform.python_version(), "mpyc": installed("mpyc")},
        }
        self._write("manifest.json", self._manifest)

    def log(self, host: str) -> TextIO:
        """Open the log of a host; each line is written at once, whatever characters it has."""
        opened = private.descriptor(self.folder / f"{host}.log", os.O_WRONLY | os.O_APPEND)
        return os.fdopen(
            opened, "a", buffering=1, encoding="utf-8", errors="backslashreplace", newline=""
        )

    def end(self, result: Mapping[str, object], versions: Mapping[str, Mapping[str, str]]) -> None:
        """Write the result, and add each host's versions to the manifest."""
        ended = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write("manifest.json", {**self._manifest, "ended": ended, "hosts": dict(versions)})
        self._write("result.json", result)

    def write(self, name: str, text: str) -> None:
        """Write a file of the evidence, whole or not at all."""
        private.write(self.folder / name, text)

    def _write(self, name: str, content: Mapping[str, object]) -> None:
        self.write(name, json.dumps(content, indent=2) + "\n")
