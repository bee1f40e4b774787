"""The programs that E3 needs: whether they are installed, and their versions."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from e3.cli.checks.finding import Finding
from e3.cli.place import ROOT
from e3.locked_packages import differences

TOO_OLD = (3, 11)
ANSWER_SECONDS = 10.0
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
LIBRARIES = ("mpyc", "gmpy2", "numpy", "pulumi")
ESSENTIAL = frozenset({"pulumi", "pulumi-language-python"})
"""Folders of tools/ that every stack needs; each other one is for one overlay."""


@dataclass(frozen=True)
class SystemTool:
    """A program of the distribution; the arguments ``ask`` print its version, if any do."""

    name: str
    package: str
    ask: Sequence[str] = ()


PROGRAMS = (
    SystemTool("awk", "mawk"),
    SystemTool("ip", "iproute2", ["-V"]),
    SystemTool("nft", "nftables", ["--version"]),
    SystemTool("ping", "iputils-ping", ["-V"]),
    SystemTool("nsenter", "util-linux", ["--version"]),
    SystemTool("unshare", "util-linux", ["--version"]),
    SystemTool("s6-svscan", "s6"),
    SystemTool("tini", "tini", ["--version"]),
    SystemTool("pkill", "procps", ["--version"]),
    SystemTool("ssh", "openssh-client", ["-V"]),
    SystemTool("sshd", "openssh-server", ["-V"]),
)


def check() -> Iterator[Finding]:
    """Yield one finding for each program."""
    yield _python()
    yield from _packages()
    with ThreadPoolExecutor() as pool:
        yield from pool.map(_built, sorted((ROOT / "tools").glob("*/recipe.toml")))
        yield from pool.map(_packaged, PROGRAMS)


def _python() -> Finding:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    detail = f"{platform.python_version()} with {libraries}"
    if sys.version_info < TOO_OLD:
        remedy = "install 3.11 or newer, then scripts/setup"
        return Finding(level="FAIL", subject="python", detail=detail, remedy=remedy)
    return Finding(level="OK", subject="python", detail=detail)


def _packages() -> Iterator[Finding]:
    """Compare .venv with the lock, where set-up has made it."""
    lock, environment = ROOT / "requirements.txt", ROOT / ".venv"
    if not lock.is_file() or not environment.is_dir():
        return
    found = differences(lock, environment)
    if found:
        yield Finding(
            level="FAIL",
            subject="packages",
            detail=f"of .venv {len(found)} are not as {lock.name} has them: "
            f"{', '.join(map(str, found))}",
            remedy="scripts/setup repairs it; pip by hand belongs into an environment of its own",
        )
    else:
        yield Finding(level="OK", subject="packages", detail=f".venv is as {lock.name} has it")


def _built(path: Path) -> Finding:
    """Look for the programs of a recipe of tools/, which scripts/setup finds or builds."""
    recipe, name = tomllib.loads(path.read_text()), path.parent.name
    found = {program: shutil.which(program, path=_built_path()) for program in recipe["programs"]}
    missing = [program for program, place in found.items() if place is None]
    if missing and recipe.get("only_if_asked"):
        detail = f"{', '.join(missing)} is not built; scripts/setup {name} builds it"
        return Finding(level="OK", subject=name, detail=detail)
    if missing:
        needed = name in ESSENTIAL
        activated = str(ROOT / ".tools" / "bin") in os.environ["PATH"].split(os.pathsep)
        remedy = "scripts/setup brings it" if needed else "`make tools` brings it"
        return Finding(
            level="FAIL" if needed else "WARN",
            subject=name,
            detail=f"{', '.join(missing)} not on PATH",
            remedy=remedy if activated else "`. scripts/activate` first",
        )
    first = str(found[recipe["programs"][0]])
    command, *words = recipe.get("version", [""])
    said = _number(_output([str(found.get(command, command)), *words])) if command else ""
    if said and _parts(said) < _parts(recipe["minimum"]):
        return Finding(
            level="FAIL",
            subject=name,
            detail=f"{said} ({first}), but at least {recipe['minimum']} is needed",
            remedy="scripts/setup brings it",
        )
    return Finding(level="OK", subject=name, detail=f"{said} ({first})" if said else first)


def _built_path() -> str:
    """Return PATH without scripts/bin, whose `pulumi` only starts the real one."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(path for path in folders if Path(path) != ROOT / "scripts" / "bin")


def _packaged(program: SystemTool) -> Finding:
    found = shutil.which(program.name, path=PATH)
    if found is None:
        return Finding(
            level="FAIL",
            subject=program.name,
            detail="not on PATH",
            remedy=f"`sudo apt-get install {program.package}`",
        )
    said = _number(_output([found, *program.ask])) if program.ask else ""
    return Finding(level="OK", subject=program.name, detail=f"{said} ({found})" if said else found)


def _output(argv: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=ANSWER_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _number(text: str) -> str:
    """Return the first version number in a text, empty if there is none."""
    match = re.search(r"\d+\.\d+(?:\.\d+)*(?:p\d+)?|\b\d{8}\b", text)
    return match[0] if match else ""


def _parts(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))
