"""Facts about a machine: `look` reports them and changes nothing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from e3.remote import framing

ABROAD = ("192.0.2.1", 9)
"""An address for documentation (RFC 5737): nothing is sent; the kernel only selects a route."""

FOR_ENVIRONMENTS = ("venv", "ensurepip", "ssl", "ctypes", "zlib")
"""Modules of Python that some distributions leave out."""


def look(request: dict[str, Any]) -> None:
    """Report what this machine is and has; ``folder`` is where E3 would put its files."""
    framing.begin()
    framing.answer(
        {
            "python": sys.executable,
            "version": list(sys.version_info[:3]),
            "modules": [name for name in FOR_ENVIRONMENTS if importlib.util.find_spec(name)],
            "machine": platform.machine(),
            "kernel": platform.system(),
            "bits": 8 * struct.calcsize("P"),
            "release": _release(),
            "user": os.geteuid(),
            "home": str(Path.home()),
            "free_bytes": _free(Path(request["folder"])),
            "clock": time.time(),
            "underlay": _underlay(),
            "systemd": Path("/run/systemd/system").is_dir(),
            "tun": Path("/dev/net/tun").exists(),
            "programs": [name for name in request["programs"] if shutil.which(name)],
        }
    )


def _release() -> str:
    """Return ID and ID_LIKE of os-release(5)."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return ""
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return " ".join(values.get(key, "").strip('"') for key in ("ID", "ID_LIKE")).strip()


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _underlay() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(ABROAD)
        except OSError:
            return ""
        return str(probe.getsockname()[0])
