"""Packages of the distribution: installed by apt-get as root, else named with what to type."""

import importlib.util
import os
import shutil
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from installer.steps import SetupError, aside, run

BASE = ("iproute2", "iputils-ping", "nftables", "openssh-client", "openssh-server", "s6", "util-linux")
BENCH = ("iperf3",)

PROGRAM = {
    "iproute2": "ip",
    "iputils-ping": "ping",
    "nftables": "nft",
    "openssh-client": "ssh",
    "openssh-server": "sshd",
    "s6": "s6-svscan",
    "util-linux": "nsenter",
}
"""The program that tells that a package is there; the others are called like their package."""

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

SERVICE_COMMANDS = ("deb-systemd-helper", "deb-systemd-invoke", "invoke-rc.d", "update-rc.d")
"""What packages call to start their services and to have them started at boot."""


@dataclass(frozen=True)
class Packages:
    """These packages are installed, and no service was started or enabled by that."""

    wanted: Sequence[str]
    tools: Path
    path: str = field(default_factory=lambda: f"{os.environ['PATH']}:{SYSTEM_PATH}")

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"system packages {' '.join(self.missing())} (usually 10-30 s)"

    def missing(self) -> list[str]:
        """Return the packages that are not there yet."""
        missing = [
            name for name in self.wanted if not shutil.which(PROGRAM.get(name, name), path=self.path)
        ]
        if importlib.util.find_spec("ensurepip") is None:
            missing.append(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
        return missing

    def done(self) -> bool:
        """See `Step`."""
        return not self.missing()

    def do(self) -> None:
        """See `Step`."""
        missing = self.missing()
        by_hand = f"apt-get install --no-install-recommends {' '.join(missing)}"
        if not shutil.which("apt-get"):
            programs = ", ".join(f"{PROGRAM.get(name, name)} ({name})" for name in missing)
            raise SetupError(
                f"these programs are missing: {programs}.\nInstall them with the package manager of "
                "this system (in brackets what Debian calls their packages), then type scripts/setup."
            )
        if os.geteuid() != 0:
            raise SetupError(f"packages are missing. Type:\n    sudo {by_hand}\nthen scripts/setup.")
        with aside(self.tools) as folder:
            for name in SERVICE_COMMANDS:
                stand_in = folder / name
                stand_in.write_text("#!/bin/sh\nexit 0\n")
                stand_in.chmod(stat.S_IRWXU)
            install = [
                "apt-get",
                "install",
                "--yes",
                "--no-install-recommends",
                # A lab needs sshd, the machine does not: packages find these stand-ins first.
                # Unlike policy-rc.d that leaves nothing behind, however the set-up ends.
                f"--option=DPkg::Path={folder}:{SYSTEM_PATH}",
                *missing,
            ]
            environment = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
            try:
                run(install, environment=environment)
            except SetupError:
                # Most likely the lists of packages are missing or old.
                run(["apt-get", "update"], environment=environment)
                run(install, environment=environment, remedy=f"Type:\n    {by_hand}")
