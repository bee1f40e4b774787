"""Pulumi's plugins of clouds, each of the version that its SDK in .venv asks for."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from installer.steps import SetupError, run

WHERE = "https://www.pulumi.com/registry/packages/"


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
        remedy = (
            f"The plugin {self.name} is downloaded from get.pulumi.com or github.com, which this "
            f"machine seems not to reach.\nOn one that does, type:  pulumi plugin install resource "
            f"{self.name} v{self.version}\nand copy the folder ~/.pulumi/plugins/resource-"
            f"{self.name}-v{self.version} to {self._home / 'plugins'}; or put a program called "
            f"pulumi-resource-{self.name} on PATH. About it: {WHERE}{self.name}"
        )
        run(
            [self.root / ".tools/bin/pulumi", *command],
            cwd=self.root,
            environment={"PULUMI_HOME": str(self._home)},
            remedy=remedy,
        )
        if not self.done():
            raise SetupError(remedy)

    @property
    def _home(self) -> Path:
        return self.root / ".e3" / "pulumi"
