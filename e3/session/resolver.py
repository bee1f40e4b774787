"""Find out by uv(1) which versions meet a program's requirements, and install them in a folder.

Nothing of a package runs here, unless ``build`` permits what has no wheel to build one. uv asks the
index of this machine: that of its own settings, or else that of pip's.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import msgspec
from msgspec import Meta
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from e3.errors import PlatformError, ProgramError
from e3.remote.layers import libc
from e3.remote.tasks import in_thread, whole
from e3.remote.text import printable
from e3.session.requirements import Requirements

MB = 1_000_000
CAUSE_LENGTH = 700
TICK_SECONDS = 0.5
SPARE_BYTES = 500 * MB
"""What an installation leaves of the disk."""

OURS = ("gmpy2", "mpyc")
"""What the party itself runs with, which no program can replace."""

GLIBC = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
"""The versions 2.x of the GNU C library that uv knows."""

KEPT = re.compile(
    r"(?i)(HOME|LANG|PATH|TMPDIR|(all|https?|no)_proxy|SSL_CERT_(DIR|FILE)|XDG_\w+|NETRC"
    r"|UV_(CACHE_DIR|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS|HTTP_TIMEOUT|INDEX|INDEX_\w+"
    r"|INSECURE_HOST|KEYRING_PROVIDER|NATIVE_TLS|NO_INDEX|OFFLINE|SYSTEM_CERTS))"
)
"""The variables that say where packages come from; all others would say what is installed."""

FROM_PIP: Mapping[str, str] = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
"""Settings of pip, and the variables of uv that mean the same."""


class Package(msgspec.Struct, frozen=True):
    """One package at one version; ``sha256`` is that of ``file``, of ``size`` bytes."""

    name: str
    version: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True, order=True, kw_only=True)
class Target:
    """Which packages a host can use: ``python`` is like 3.11, ``platform`` as uv names it.

    A ``plain`` host has a processor for which the index has no wheels, so it takes those that are
    Python alone. ``base`` are the packages that a party has there anyway, with their versions.
    """

    python: str
    platform: str
    base: tuple[tuple[str, str], ...]
    plain: bool = False

    @property
    def name(self) -> str:
        """A name for files."""
        kind = "any" if self.plain else self.platform
        base = hashlib.sha256(repr(self.base).encode()).hexdigest()[:8]
        return f"cp{self.python.replace('.', '')}-{kind}-{base}"

    def __str__(self) -> str:
        """Return the target as messages name it."""
        return f"Python {self.python} on {'32-bit Linux' if self.plain else self.platform}"


class Wheel(msgspec.Struct):
    """A file of a package in uv's answer."""

    hashes: dict[str, str] = {}
    url: str = ""
    name: str = ""
    size: int = 0


class Locked(msgspec.Struct):
    """A package in uv's answer, as in PEP 751."""

    name: str
    version: str
    wheels: list[Wheel] = []
    sdist: Wheel | None = None


class Answer(msgspec.Struct):
    """uv's answer."""

    packages: Annotated[list[Locked], Meta(max_length=10_000)] = []


def platform(machine: str, bits: int, libc: str) -> tuple[str, bool]:
    """Return what uv calls a host's system, and whether the index has no wheels for it."""
    if bits != 64 or machine not in {"x86_64", "aarch64"}:  # noqa: PLR2004 -- a word
        return "aarch64-manylinux_2_17", True
    if libc.startswith("musl"):
        return f"{machine}-unknown-linux-musl", False
    found = re.fullmatch(r"glibc 2\.(\d+)", libc)
    minor = int(found[1]) if found else GLIBC[0]
    return f"{machine}-manylinux_2_{max([x for x in GLIBC if x <= minor], default=17)}", False


def is_here(target: Target) -> bool:
    """Return whether a target is like this machine, so that what is built here runs there."""
    here, _ = platform(os.uname().machine, sys.maxsize.bit_length() + 1, libc())
    python = ".".join(map(str, sys.version_info[:2]))
    return (target.python, target.platform, target.plain) == (python, here, False)


def check_ours(requirements: Requirements, target: Target) -> None:
    """Raise `ProgramError` if a requirement contradicts the version with which a party runs."""
    base = dict(target.base)
    for line in (*requirements.wanted, *requirements.constraints):
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        if wanted.marker is not None and not wanted.marker.evaluate(environment(target)):
            continue
        ours = name in OURS and name in base
        if ours and not wanted.specifier.contains(base[name], prereleases=True):
            raise ProgramError(
                f"{requirements.source} asks for {printable(line)}, and E3 runs every party with "
                f"{name} {base[name]}; leave it away, or write a version that this one meets"
            )


def environment(target: Target) -> dict[str, str]:
    """Return the values of markers that decide here: of the host's, not of this Python."""
    machine = target.platform.partition("-")[0]
    return {
        "python_version": target.python,
        "python_full_version": f"{target.python}.0",
        "platform_machine": machine,
    }


class Uv:
    """Runs uv in a folder of its own, for one program's requirements."""

    def __init__(self, folder: Path, requirements: Requirements, *, build: bool) -> None:
        """Write what is needed only below ``folder``, which exists."""
        self._folder = folder
        self._requirements = requirements
        self._build = build
        self._variables: Mapping[str, str] | None = None

    async def resolve(self, target: Target, known: Mapping[str, str]) -> tuple[Package, ...]:
        """Return the packages for a target, those that it has anyway left out.

        ``known`` are versions that other targets take already. Raises `ProgramError` if that
        cannot be met, and `PlatformError` if the index cannot be asked.
        """
        check_ours(self._requirements, target)
        base = dict(target.base)
        numpy = {} if "numpy" in known else {"numpy": base["numpy"]} if "numpy" in base else {}
        try:
            found = await self._compile(target, {**known, **numpy})
        except ProgramError:
            if not numpy:
                raise
            # rather with E3's own; a program may need another one
            found = await self._compile(target, dict(known))
        return tuple(each for each in found if base.get(each.name) != each.version)

    async def _compile(self, target: Target, known: Mapping[str, str]) -> list[Package]:
        ours = {name: version for name, version in target.base if name in OURS}
        limits = [f"{name}=={version}" for name, version in {**known, **ours}.items()]
        (self._folder / "requirements.in").write_text("\n".join(self._requirements.wanted))
        constraints = (*self._requirements.constraints, *limits)
        (self._folder / "constraints.txt").write_text("\n".join(constraints))
        answer = self._folder / "pylock.toml"
        answer.unlink(missing_ok=True)
        await self._run(
            target,
            ["pip", "compile", "--no-header", "--format", "pylock.toml", "--no-sources"],
            ["--constraint", "constraints.txt", "--output-file", answer.name, "requirements.in"],
            ["--prerelease", "allow"] if self._requirements.pre else [],
        )
        locked = msgspec.convert(tomllib.loads(answer.read_text()), Answer)
        return [self._chosen(each, target) for each in locked.packages]

    def _chosen(self, locked: Locked, target: Target) -> Package:
        file = locked.wheels[0] if locked.wheels else locked.sdist
        name = canonicalize_name(locked.name)
        who = f"{self._requirements.source}: {printable(name)} {printable(locked.version)}"
        if file is None:
            raise ProgramError(f"{who} has no file for {target}; choose another version")
        if not locked.wheels and not is_here(target):
            raise ProgramError(
                f"{who} has no wheel for {target}, and can be built for this machine alone; choose "
                "another version, or hosts like this machine"
            )
        shown = file.name or unquote(file.url).rpartition("/")[2]
        base = dict(target.base).get(name) == locked.version
        if target.plain and not base and not shown.endswith("-none-any.whl"):
            raise ProgramError(
                f"{who} has no wheel for {target}: there only packages of Python alone can be "
                "installed; leave that host out, or the package"
            )
        sha256 = file.hashes.get("sha256", "")
        hashes = self._requirements.hashes
        if hashes and not base:
            if name not in hashes:
                raise ProgramError(
                    f"{who} has no --hash, and other packages have; write all that are needed, "
                    "each with its hashes (`uv pip compile --generate-hashes`), or none"
                )
            if sha256 not in hashes[name]:
                raise ProgramError(
                    f"{who}: the index offers {printable(shown)} with the SHA-256 "
                    f"{printable(sha256)}, which is not one of the {len(hashes[name])} that are "
                    "written there; do not install it unless you know why, then correct them"
                )
        size = file.size  # not said of a file of this machine
        if not size and file.url.startswith("file://"):
            size = Path(url2pathname(urlsplit(file.url).path)).stat().st_size
        return Package(name, locked.version, shown, size, sha256)

    async def install(self, packages: Sequence[Package], target: Target, site: Path) -> None:
        """Install these files, and no others, in the folder ``site``."""
        lines = [
            f"{each.name}=={each.version}"
            + (f" --hash=sha256:{each.sha256}" if each.sha256 else "")
            for each in packages
        ]
        (self._folder / "locked.txt").write_text("\n".join(lines))
        await self._run(
            target,
            ["pip", "install", "--target", str(site), "--no-deps", "--link-mode", "copy"],
            ["--require-hashes"] if all(each.sha256 for each in packages) else [],
            ["--requirement", "locked.txt"],
        )

    async def _run(self, target: Target, *words: Sequence[str]) -> None:
        if self._variables is None:
            self._variables = await in_thread(variables)
        program = Path(sys.executable).with_name("uv")
        found = str(program) if program.exists() else shutil.which("uv")
        if found is None:
            raise PlatformError("uv, which installs packages, is not here; run `scripts/setup`")
        argv = [found, *(word for part in words for word in part)]
        argv += ["--quiet", "--no-progress", "--color", "never", "--python", sys.executable]
        argv += ["--python-version", target.python, "--python-platform", target.platform]
        argv += [] if self._build else ["--no-build"]
        argv += [] if self._requirements.index else ["--no-index"]
        for folder in self._requirements.folders:
            argv += ["--find-links", str(folder.resolve())]
        said, status = await run(argv, self._folder, self._variables)
        if status:
            self._explain(said, target)

    def _explain(self, said: str, target: Target) -> None:
        """Raise the error that says what uv complained about."""
        flat = re.sub(r"\s+", " ", said.replace("error: ", "").replace("cause: ", "")).strip()
        cause = printable(flat, CAUSE_LENGTH)
        source = self._requirements.source
        if "No space left on device" in said or "os error 28" in said:
            raise PlatformError(f"{source}: the disk is full ({cause}); make room, then run again")
        if "error sending request" in said or "Failed to fetch" in said or "dns error" in said:
            raise PlatformError(
                f"{source}: the index of packages does not answer ({cause}); see `pip config list` "
                "for the index of this machine, or put wheels into a folder beside the program and "
                "write --find-links FOLDER"
            )
        remedy = "correct the name or the version"
        if "--no-build" in said or "no usable wheels" in said:
            remedy = (
                "choose a version with a wheel, or set e3:dependencies to build, which runs what "
                "the package brings on this machine"
            )
        elif "Hash mismatch" in said:
            remedy = "what was downloaded is not what the index announced; run again"
        raise ProgramError(f"{source} cannot be installed for {target}: {cause}; {remedy}")


async def run(argv: Sequence[str], folder: Path, variables: Mapping[str, str]) -> tuple[str, int]:
    """Run uv to its end; return what it complained about, and its exit status.

    It and what it started are killed if we are cancelled, or if the disk gets full.
    """
    process = await whole(
        asyncio.create_subprocess_exec(
            *argv,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            umask=0o022,
            start_new_session=True,
        ),
        undo=_kill,
    )
    try:
        said = await _watched(process, folder)
    finally:
        await _kill(process)
    assert process.returncode is not None  # noqa: S101 -- it was waited for
    return said, process.returncode


async def _watched(process: asyncio.subprocess.Process, folder: Path) -> str:
    """Return what the process writes, once it has ended."""
    assert process.stderr is not None  # noqa: S101 -- it was asked for as a pipe
    said = b""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TICK_SECONDS):
                if not (data := await process.stderr.read(65_536)):
                    await process.wait()
                    return said.decode(errors="replace")
                said = (said + data)[-65_536:]
        if shutil.disk_usage(folder).free < SPARE_BYTES:
            raise PlatformError(
                f"packages would fill the disk of {printable(folder.parent)}, which has less than "
                f"{SPARE_BYTES // MB} MB left; make room, then run again"
            )


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def variables() -> dict[str, str]:
    """Return the environment of uv: where packages come from, by its own settings or by pip's."""
    own = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    command = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in said.splitlines():
        key, _, value = line.partition("=")
        # pip shows `section.option='value'`, the more specific later
        option = key.rpartition(".")[2].replace("_", "-")
        name = FROM_PIP.get(option)
        words = value.strip("'\"").replace("\\n", " ").split()
        if option == "find-links":  # uv fails if one does not exist, pip does not
            words = [word for word in words if "://" in word or Path(word).exists()]
        if name is not None and name not in os.environ and words:
            own[name] = ("," if option == "find-links" else " ").join(words)
    return own
