"""Packages of the distribution: installed by apt-get as root, or named with the command."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from installer.steps import SetupError, aside, run

BASE = (
    "iproute2",
    "iputils-ping",
    "mawk",
    "nftables",
    "openssh-client",
    "openssh-server",
    "openssl",
    "procps",
    "s6",
    "tini",
    "util-linux",
)
BENCH = ("iperf3",)
TESTS = (
    *("coturn", "faketime", "fastd", "fish", "nix-bin", "pssh", "rsync", "shellcheck", "sudo"),
    *("tayga", "tinyproxy-bin", "zsh"),
)
"""Programs of the tests: they look at NATs, shift a clock, build flakes, give a user rights, lint
shell, are the example overlay, read the outputs of stacks, translate and forward in a lab, and
complete words."""

PROGRAM = {
    "coturn": "turnserver",
    "iproute2": "ip",
    "iputils-ping": "ping",
    "mawk": "awk",
    "nftables": "nft",
    "nix-bin": "nix",
    "openssh-client": "ssh",
    "openssh-server": "sshd",
    "procps": "kill",
    "pssh": "parallel-ssh",
    "s6": "s6-svscan",
    "tinc": "tincd",
    "tinyproxy-bin": "tinyproxy",
    "util-linux": "nsenter",
    "wireguard-tools": "wg",
}
"""The program that shows that a package is installed; others have the name of their package."""

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

SERVICE_COMMANDS = ("deb-systemd-helper", "deb-systemd-invoke", "invoke-rc.d", "update-rc.d")
"""The commands by which packages start their services and enable them at boot."""


@dataclass(frozen=True)
class Packages:
    """These packages are installed, and no service was started or enabled by that."""

    wanted: Sequence[str]
    tools: Path
    path: str = field(default_factory=lambda: f"{os.environ['PATH']}:{SYSTEM_PATH}")
    root: bool = field(default_factory=lambda: os.geteuid() == 0)

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"system packages {' '.join(self._missing())} (usually 10-30 s)"

    def done(self) -> bool:
        """See `Step`."""
        return not self._missing()

    def do(self) -> None:
        """See `Step`."""
        missing = self._missing()
        apt = shutil.which("apt-get", path=self.path)
        if not apt:
            programs = ", ".join(f"{PROGRAM.get(name, name)} ({name})" for name in missing)
            raise SetupError(
                f"programs are missing: {programs}.\nInstall them with this system's package "
                "manager (in brackets what Debian calls their packages), then type scripts/setup."
            )
        if not self.root:
            command = f"sudo apt-get install --no-install-recommends {' '.join(missing)}"
            raise SetupError(f"packages are missing. Type:\n    {command}\n    scripts/setup")
        with aside(self.tools) as folder:
            self._install(apt, missing, folder)

    def _missing(self) -> list[str]:
        missing = [
            name
            for name in self.wanted
            if not shutil.which(PROGRAM.get(name, name), path=self.path)
        ]
        if importlib.util.find_spec("ensurepip") is None:
            missing.append(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
        return missing

    def _install(self, apt: str, missing: Sequence[str], folder: Path) -> None:
        for name in SERVICE_COMMANDS:
            (folder / name).write_text("#!/bin/sh\nexit 0\n")
            (folder / name).chmod(0o755)
        # A lab needs sshd, the machine does not: packages find these stand-ins first. Unlike a
        # policy-rc.d, that changes nothing of the machine, however the set-up ends.
        quiet = f"--option=DPkg::Path={folder}:{SYSTEM_PATH}"
        install = [apt, "install", "--yes", "--no-install-recommends", quiet, *missing]
        environment = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
        try:
            run(install, environment=environment)
        except SetupError:
            # Most likely the lists of packages are missing or old.
            run([apt, "update"], environment=environment)
            run(install, environment=environment)
