"""Whether this machine has the programs of an overlay: hosts of a lab have no others."""

import os
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e3.errors import PlatformError
from e3.interfaces import Needs

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS: Mapping[str, str] = {"tinc": "tincd", "wireguard-tools": "wg"}
"""The program that tells that a package is there; the others are called like their package."""


@dataclass(frozen=True, kw_only=True)
class Equipment:
    """What there is: programs that scripts/setup built, in ``built``, and those on ``path``."""

    built: Path = ROOT / ".tools" / "bin"
    path: str = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

    def check(self, overlay: str, needs: Needs, stack: str) -> None:
        """Raise `PlatformError` with what the overlay of that name lacks, and who brings it."""
        lacking = [tool for tool in needs.tools if not self._has_built(tool)]
        lacking += [package for package in needs.packages if not self._has_installed(package)]
        if lacking:
            raise PlatformError(
                f"e3:overlay: {overlay} needs {', '.join(lacking)}, which this machine does not "
                f"have; run `scripts/setup {stack}`, which brings it or says why it cannot"
            )

    def _has_built(self, tool: str) -> bool:
        recipe = tomllib.loads((ROOT / "tools" / tool / "recipe.toml").read_text())
        return all((self.built / program).exists() for program in recipe["programs"])

    def _has_installed(self, package: str) -> bool:
        return shutil.which(PROGRAMS.get(package, package), path=self.path) is not None
