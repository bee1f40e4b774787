"""A Nix of the tests' own: its store, state and caches lie below one folder, nothing elsewhere."""

import os
import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SYSTEM = f"{os.uname().machine}-linux"
FOREIGN = "aarch64-linux" if SYSTEM != "aarch64-linux" else "x86_64-linux"

NEEDED = pytest.mark.skipif(not shutil.which("nix"), reason="no Nix here; Debian: nix-bin")


def settings(folder: Path) -> dict[str, str]:
    """Return the environment of a Nix that is whole without network, root and sandbox."""
    lines = ["sandbox = false", "build-users-group =", "substituters =", "flake-registry ="]
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    return {
        "TMPDIR": str(folder / "tmp"),  # where builders work
        "NIX_STORE_DIR": str(folder / "store"),
        "NIX_STATE_DIR": str(folder / "var"),
        "NIX_LOG_DIR": str(folder / "log"),
        "NIX_CONF_DIR": str(folder / "etc"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "NIX_CONFIG": "\n".join(lines),
    }


def remove(folder: Path) -> None:
    """Remove a store, whose folders are read-only."""
    for place, folders, _ in os.walk(folder):
        for name in folders:
            path = Path(place, name)
            if not path.is_symlink():
                path.chmod(0o755)
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Source:
    """A flake without inputs, of derivations that a shell builds."""

    folder: Path

    def write(self, scripts: Mapping[str, str], *, foreign: str = "") -> None:
        """Return an output for each script; ``foreign`` names one for another kind of machine."""
        outputs = "".join(
            f"""
            packages.{FOREIGN if name == foreign else SYSTEM}.{name} = derivation {{
              name = "{name}";
              system = "{FOREIGN if name == foreign else SYSTEM}";
              builder = "/bin/sh";
              PATH = "/usr/bin:/bin";
              args = [ ./{name}.sh ];
            }};"""
            for name, script in scripts.items()
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, script in scripts.items():
            (self.folder / f"{name}.sh").write_text(textwrap.dedent(script))
        text = f"{{ outputs = _: {{{outputs}\n}}; }}\n"
        (self.folder / "flake.nix").write_text(text)

    def output(self, name: str, system: str = SYSTEM) -> str:
        """Return the attribute path of an output."""
        return f"packages.{system}.{name}"
