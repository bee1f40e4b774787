"""Programs written in Rust, built by this machine's own Rust from the pins in Cargo.lock.

Cargo.lock lies in tools/NAME without the lines that name the index of crates (`source = ...`): the
cargo that builds tells which one it uses, and what it fetches must have the checksums of the lock.
"""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from installer.progress import Progress
from installer.steps import SetupError, run

COMPILING = re.compile(r"\s*Compiling ")


@dataclass(frozen=True)
class Rust:
    """The cargo and rustc on ``path``; nothing here brings them."""

    path: str

    def build(self, source: Path, programs: Sequence[str], folder: Path) -> None:
        """Build ``programs`` from a folder under tools/ into ``folder``."""
        self._check(source)
        work, target = folder / "source", folder / "target"
        shutil.copytree(source, work)
        lock = work / "Cargo.lock"
        lock.write_text(with_index(lock.read_text(), self._index(lock, folder / "probe")))
        tree = self._cargo(work, "tree", "--locked", "--prefix=none", "--edges=normal,build")
        crates = {line.partition(" (")[0] for line in tree.splitlines() if " v" in line}
        progress = Progress("crates compiled", len(crates))

        def each(line: str) -> None:
            if COMPILING.match(line):
                progress.step()

        run(
            ["cargo", "build", "--release", "--locked", "--target-dir", target],
            cwd=work,
            environment={"PATH": self.path},
            each=each,
        )
        progress.end()
        for program in programs:
            (target / "release" / program).rename(folder / program)

    def _check(self, source: Path) -> None:
        """Raise `SetupError` without a Rust that is new enough, or a C compiler."""
        minimum = tomllib.loads((source / "Cargo.toml").read_text())["package"]["rust-version"]
        rustc = shutil.which("rustc", path=self.path)
        said = subprocess.run(
            [rustc or "false", "--version"], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"\d+(?:\.\d+)+", said)
        if not (found and shutil.which("cargo", path=self.path)):
            raise SetupError(_missing(source.name, minimum, "none is on PATH (cargo and rustc)"))
        if _parts(found[0]) < _parts(minimum):
            raise SetupError(_missing(source.name, minimum, f"{rustc} is {found[0]}"))
        if not shutil.which("cc", path=self.path):
            raise SetupError(
                f"{source.name} is linked by a C compiler, and none is on PATH (cc).\nOn Debian or "
                "Ubuntu type:  apt-get install gcc libc6-dev\n"
                f"Then type  scripts/setup {source.name}  again."
            )

    def _index(self, lock: Path, folder: Path) -> str:
        """Return how cargo here names its index: what it writes into a lock of one crate."""
        crate = next(it for it in tomllib.loads(lock.read_text())["package"] if "checksum" in it)
        (folder / "src").mkdir(parents=True)
        (folder / "src/lib.rs").touch()
        (folder / "Cargo.toml").write_text(
            '[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2021"\n'
            f'[dependencies]\n{crate["name"]} = "={crate["version"]}"\n'
        )
        self._cargo(folder, "generate-lockfile")
        known = tomllib.loads((folder / "Cargo.lock").read_text())["package"]
        return str(next(it["source"] for it in known if "source" in it))

    def _cargo(self, folder: Path, *words: str) -> str:
        return run(["cargo", *words], cwd=folder, environment={"PATH": self.path})


def with_index(lock: str, index: str) -> str:
    """Return a Cargo.lock as cargo wants it: each crate with a checksum is of that index."""
    return re.sub(r"^checksum = ", f'source = "{index}"\nchecksum = ', lock, flags=re.MULTILINE)


def _missing(name: str, minimum: str, found: str) -> str:
    return (
        f"{name} is built with Rust {minimum} or newer, and {found}.\nInstall it by rustup "
        "(https://rustup.rs), or by this system's packages if they are new enough: those of Debian "
        f"12 and 13 are not. Then type  scripts/setup {name}  again. All other overlays do without."
    )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
