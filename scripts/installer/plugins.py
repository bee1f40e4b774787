"""Pulumi's plugins of clouds, each of the version that its SDK in .venv asks for.

A plugin runs with the keys of a cloud, so it is installed only if its archive is the one that
tools/plugins.sha256 names.
"""

import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from installer.steps import SetupError, run

WHERE = "https://www.pulumi.com/registry/packages/"
PINS = "tools/plugins.sha256"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Plugin:
    """The plugin is in the folder where Pulumi looks, or a program of its name on PATH."""

    name: str
    version: str
    root: Path
    path: str

    @property
    def what(self) -> str:
        """See `Step`."""
        return f"Pulumi's plugin {self.name} {self.version} (usually 20 s)"

    def done(self) -> bool:
        """See `Step`."""
        program = f"pulumi-resource-{self.name}"
        installed = self._home / "plugins" / f"resource-{self.name}-v{self.version}" / program
        return installed.exists() or shutil.which(program, path=self.path) is not None

    def do(self) -> None:
        """See `Step`."""
        command = ["plugin", "install", "resource", self.name, f"v{self.version}"]
        checksum = self._checksum()
        remedy = (
            f"The plugin {self.name} is downloaded from get.pulumi.com or github.com, which this "
            f"machine seems not to reach, or its archive is not the one in {PINS}.\nOn one that "
            f"does, type:  pulumi plugin install resource {self.name} v{self.version} "
            f"--checksum {checksum}\nand copy the folder ~/.pulumi/plugins/resource-"
            f"{self.name}-v{self.version} to {self._home / 'plugins'}; or put a program called "
            f"pulumi-resource-{self.name} on PATH. About it: {WHERE}{self.name}"
        )
        run(
            [self.root / ".tools/bin/pulumi", *command, "--checksum", checksum],
            cwd=self.root,
            environment={"PULUMI_HOME": str(self._home)},
            remedy=remedy,
        )
        if not self.done():
            raise SetupError(remedy)

    @property
    def archive(self) -> str:
        """The name of the archive for this machine in the plugin's release."""
        machine = ARCHITECTURES.get(platform.machine(), platform.machine())
        return f"pulumi-resource-{self.name}-v{self.version}-{sys.platform}-{machine}.tar.gz"

    def _checksum(self) -> str:
        """Return the SHA-256 that the archive must have; raise `SetupError` without a pin."""
        pins = self.root / PINS
        lines = pins.read_text().splitlines() if pins.exists() else []
        rows = [line.split() for line in lines if not line.startswith("#")]
        found = {row[0] for row in rows if row[1:] in ([self.archive], [f"*{self.archive}"])}
        if len(found) == 1 and re.fullmatch("[0-9a-f]{64}", checksum := found.pop()):
            return checksum
        release = f"https://github.com/pulumi/pulumi-{self.name}/releases/tag/v{self.version}"
        raise SetupError(
            f"Pulumi's plugin {self.name} {self.version} is not installed, as {PINS} does not have "
            f"one SHA-256 of its archive.\nOpen {release}, look into its file of checksums, and "
            f"add the line that ends with {self.archive} to {PINS}. Then type scripts/setup.\n"
            f"Or put a program called pulumi-resource-{self.name}, which you trust, on PATH."
        )

    @property
    def _home(self) -> Path:
        return self.root / ".e3" / "pulumi"
