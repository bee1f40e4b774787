"""Put `e3-tunnel` into the wheel of E3, which carries its sessions: hatchling runs this.

It is taken from .tools, where scripts/setup has built it, or built here if there is a compiler.
Without either the wheel is the same for every platform, and says so.
"""

import os
import platform
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAM = "e3-tunnel"
SOURCE = "tools/tunnel"


class CustomBuildHook(BuildHookInterface):
    """Adds the program, and the platform that it is for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling's `BuildHookInterface`."""
        del version
        self._folder = tempfile.TemporaryDirectory()
        program = self._program(Path(self.root), Path(self._folder.name))
        if program is None:
            self.app.display_warning(f"no {PROGRAM} in this wheel: neither .tools nor Go has one")
            return
        build_data["shared_scripts"][str(program)] = program.name
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """See hatchling's `BuildHookInterface`."""
        del version, build_data, artifact_path
        self._folder.cleanup()

    def _program(self, root: Path, folder: Path) -> Path | None:
        built = root / ".tools/bin" / PROGRAM
        if built.exists():
            return built.resolve()
        if shutil.which("go") is None:
            return None
        flags = ["-trimpath", "-ldflags=-s -w"]
        subprocess.run(
            ["go", "build", *flags, "-o", f"{folder}/", "tool"],
            cwd=root / SOURCE,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            check=True,
        )
        return next(folder.iterdir())


def platform_tag() -> str:
    """Return the platform of a program without libraries: on Linux, whichever C library it has."""
    if platform.system() == "Linux":
        machine = platform.machine()
        return f"manylinux_2_17_{machine}.musllinux_1_1_{machine}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
