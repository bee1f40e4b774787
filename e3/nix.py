"""Build outputs of flakes with the Nix of this machine.

Everything is done by the program ``nix`` (manual: https://nix.dev/manual/nix/stable/, "nix build",
"nix path-info"); its progress is read as the lines of ``--log-format internal-json``. All other
settings of a build (store, substituters, sandbox) come from Nix's own configuration.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from e3 import private
from e3.errors import BuildError, ConfigurationError, PlatformError
from e3.remote.tasks import beside

Answer = TypeVar("Answer")

SECRETS = ".e3"
"""The folder of a project that holds state and passphrase, see docs/architecture.md."""

INSTALLED = ("/nix/var/nix/profiles/default/bin", "~/.nix-profile/bin")
LINK = "result"
"""The name of the link that is a garbage collector root, as Nix itself names it."""

LAST_LINES = 30
LINE_BYTES = 16 << 20
SAY_EVERY_SECONDS = 2.0
GRACE_SECONDS = 10.0
ASK_SECONDS = 120.0
INFO = 3
"""The highest verbosity of Nix that is shown to the user (libutil/logging.hh, ``Verbosity``)."""

BUILD_LOG_LINE = 101
"""The type of a result that has a line of a builder (libutil/logging.hh, ``ResultType``)."""

PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")
"""Paths that every version of Nix reads alike in a URL: only some decode it."""

COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, kw_only=True)
class Flake:
    """A flake in a folder of this machine.

    ``sources`` are the files and folders, relative to it, that its outputs depend on; without
    any, they are all files that Nix can see.
    """

    folder: Path
    sources: Sequence[str] = ()

    def reference(self) -> str:
        """Return the flake as a reference for Nix.

        Raises `ConfigurationError` if there is none, or if Nix would copy secrets with it.
        """
        place = self.folder.absolute()
        if not (place / "flake.nix").is_file():
            raise ConfigurationError(
                f"flake {str(self.folder)!r}: there is no flake.nix; name a folder that has one"
            )
        if not PLAIN.fullmatch(str(place)):
            raise ConfigurationError(
                f"flake {str(self.folder)!r}: Nix cannot be told of a folder whose path has other "
                f"characters than letters, digits and /._+-, as {str(place)!r} has; move it"
            )
        repository = self._repository()
        if repository is None:
            if (place / SECRETS).exists():
                raise ConfigurationError(
                    f"flake {str(self.folder)!r}: without git, Nix copies the whole folder into "
                    f"its store, where all users can read it, and {SECRETS} holds secrets; type "
                    "`git init && git add .` there, or move the flake to a folder of its own"
                )
            return f"path:{place}"
        below = place.relative_to(repository)
        return f"git+file://{repository}" + (f"?dir={below}" if below.parts else "")

    def digest(self) -> str:
        """Return the SHA-256 over names, kinds and contents of the sources and the lock."""
        self.reference()
        total = hashlib.sha256()
        for path in sorted(self._files()):
            kind = "l" if path.is_symlink() else "x" if os.access(path, os.X_OK) else "f"
            content = str(path.readlink()).encode() if kind == "l" else path.read_bytes()
            name = os.path.relpath(path, self.folder)
            total.update(f"{kind} {hashlib.sha256(content).hexdigest()} {name}\0".encode())
        return total.hexdigest()

    def _files(self) -> Iterator[Path]:
        wanted = {*self.sources, "flake.nix", "flake.lock"} if self.sources else {"."}
        repository = self._repository()
        if repository is None:
            found = (path for name in wanted for path in _walk(self.folder / name))
        else:
            # untracked files do not belong to the flake: Nix does not see them either
            base = self.folder if self.sources else repository
            listed = subprocess.run(
                ["git", "-C", str(base), "ls-files", "-z", "--", *sorted(wanted)],
                capture_output=True,
                check=False,
                timeout=ASK_SECONDS,
            )
            if listed.returncode:
                raise BuildError(f"git in {base}: {listed.stderr.decode().strip()}")
            found = (base / name for name in listed.stdout.decode().split("\0") if name)
        yield from (path for path in found if path.is_symlink() or path.is_file())

    def _repository(self) -> Path | None:
        place = self.folder.absolute()
        return next((p for p in (place, *place.parents) if (p / ".git").exists()), None)


def _walk(place: Path) -> Iterator[Path]:
    if place.is_dir() and not place.is_symlink():
        yield from (path for path in place.rglob("*"))
    else:
        yield place


@dataclass(frozen=True, kw_only=True)
class Built:
    """An output in the store: its path, the hash of its archive (NAR), the size of its closure."""

    path: str
    nar_hash: str
    closure_bytes: int

    def file(self, pattern: str) -> str:
        """Return the one file of the output that matches ``pattern``, such as ``**/*.img``."""
        if Path(self.path).is_file():
            return self.path
        found = sorted(path for path in Path(self.path).glob(pattern) if path.is_file())
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise BuildError(
                f"{self.path}: one file {pattern!r} is wanted, and there is {names}; "
                "choose another output of the flake"
            )
        return str(found[0])


@dataclass(frozen=True, kw_only=True)
class Build:
    """One output of a flake, to be built.

    ``folder`` gets the link ``result``, which protects the output from garbage collection,
    and ``build.log``. ``builder`` is a remote machine in the form of Nix's option ``builders``,
    such as ``ssh-ng://pi@host aarch64-linux``.
    """

    flake: Flake
    output: str
    folder: Path
    builder: str = ""
    limit_seconds: float = 4 * 3600

    @property
    def link(self) -> Path:
        """The garbage collector root of the output."""
        return self.folder / LINK

    def arguments(self) -> list[str]:
        """Return the arguments for ``nix``."""
        features = ["--extra-experimental-features", "nix-command flakes"]
        remote = ["--builders", self.builder, "--builders-use-substitutes"] if self.builder else []
        # with an input that is not locked the digest would be wrong
        locked = ["--no-update-lock-file"]
        return [*features, "build", f"{self.flake.reference()}#{self.output}", *locked, *remote]

    async def run(self, say: Callable[[str], None]) -> Built:
        """Build, report progress to ``say``, and return the output once it has a root.

        Raises `BuildError` with the last lines, and `PlatformError` without Nix. No process of
        the build remains in any case.
        """
        nix = program()
        arguments = self.arguments()
        private.folder(self.folder)
        opened = private.descriptor(self.folder / "build.log", os.O_WRONLY | os.O_TRUNC)
        with os.fdopen(opened, "wb") as log:
            progress = Progress(say, log)
            out = [
                "--out-link",
                str(self.link.absolute()),
                "--json",
                "--log-format",
                "internal-json",
            ]
            try:
                async with asyncio.timeout(self.limit_seconds):
                    code, stdout = await _run([nix, *arguments, *out], progress.line)
            except TimeoutError:
                raise BuildError(
                    f"{self.output} is not built after {self.limit_seconds:g} s; {self._again(nix)}"
                ) from None
        if code:
            raise BuildError(
                f"{self.output} cannot be built; {_advice(progress.last)}{self._again(nix)}\n"
                "The last lines of Nix:\n" + "\n".join(progress.last)
            )
        (built,) = _decode(stdout, tuple[_Outputs])
        return await self._known(nix, built.outputs["out"])

    async def _known(self, nix: str, path: str) -> Built:
        command = [nix, "--extra-experimental-features", "nix-command"]
        lines: deque[str] = deque(maxlen=LAST_LINES)
        async with asyncio.timeout(ASK_SECONDS):
            code, stdout = await _run(
                [*command, "path-info", "--json", "--closure-size", path],
                lambda line: lines.append(line.decode(errors="replace").strip()),
            )
        if code:
            raise BuildError(f"Nix knows nothing of {path}, which it has built: {' '.join(lines)}")
        # a list up to Nix 2.18, then a mapping by path
        if stdout.lstrip().startswith(b"["):
            (info,) = _decode(stdout, tuple[_PathInfo])
        else:
            info = _decode(stdout, dict[str, _PathInfo])[path]
        return Built(path=path, nar_hash=info.nar_hash, closure_bytes=info.closure_size)

    def _again(self, nix: str) -> str:
        command = shlex.join([Path(nix).name, *self.arguments(), "--no-link", "-L"])
        return f"to see all of it, type:  {command}"


def choose(text: str, system: str) -> tuple[str, str]:
    """Return the folder and attribute path for ``FOLDER#OUTPUT``, or ``OUTPUT`` alone.

    An output without a dot is the package of that name for ``system``, such as ``x86_64-linux``.
    """
    folder, hash_, output = text.rpartition("#")
    if not output or (hash_ and not folder):
        raise ConfigurationError(
            f"flake output {text!r}: write the name of an output such as digitalocean, or "
            "FOLDER#OUTPUT for one of another flake"
        )
    return folder or ".", output if "." in output else f"packages.{system}.{output}"


def program() -> str:
    """Return the path of ``nix``; raise `PlatformError` without it."""
    places = os.pathsep.join([os.environ.get("PATH", ""), *map(os.path.expanduser, INSTALLED)])
    found = shutil.which("nix", path=places)
    if found is None:
        raise PlatformError(
            "nix is not on PATH, and it is needed to build images; install Nix 2.18 or newer from "
            "https://nixos.org/download, or use an image that is there already"
        )
    return found


def release(folder: Path) -> None:
    """Remove the roots that a `Build` made in ``folder``; Nix may then collect the outputs."""
    for link in folder.glob(f"{LINK}*"):
        if link.is_symlink():
            link.unlink()


class _Outputs(msgspec.Struct):
    outputs: dict[str, str]


class _PathInfo(msgspec.Struct, rename="camel"):
    nar_hash: str
    closure_size: int


class _Event(msgspec.Struct):
    """A line of ``--log-format internal-json`` (libutil/logging.cc, ``JSONLogger``)."""

    action: str = ""
    level: int = INFO
    type: int = 0
    text: str = ""
    msg: str = ""
    fields: list[Any] = []


@dataclass
class Progress:
    """The messages of Nix: all of them go to ``log``, few of them to ``say``."""

    say: Callable[[str], None]
    log: BinaryIO
    last: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    _pending: str = ""
    _pause: asyncio.TimerHandle | None = None

    def line(self, raw: bytes) -> None:
        """Process one line of Nix's standard error."""
        text = raw.decode(errors="replace").rstrip("\n")
        event = _event(text) if text.startswith("@nix ") else _Event(action="msg", msg=text)
        if event.action == "result" and event.type == BUILD_LOG_LINE:
            self._keep("".join(map(str, event.fields[:1])))
        elif event.action == "msg":
            self._keep(event.msg)
        elif event.action == "start" and event.text and event.level <= INFO:
            self._keep(event.text)
            self._tell(event.text)

    def _keep(self, text: str) -> None:
        lines = COLOURS.sub("", text).splitlines()
        self.last.extend(lines)
        self.log.writelines(f"{line}\n".encode() for line in lines)
        self.log.flush()

    def _tell(self, text: str) -> None:
        """Report the first line of ``text`` now, or after a pause that of the latest text."""
        self._pending = COLOURS.sub("", text).splitlines()[0]
        if self._pause is None:
            self._next()

    def _next(self) -> None:
        self._pause = None
        if self._pending:
            self.say(self._pending)
            self._pending = ""
            self._pause = asyncio.get_running_loop().call_later(SAY_EVERY_SECONDS, self._next)


def _event(text: str) -> _Event:
    try:
        return msgspec.json.decode(text.removeprefix("@nix "), type=_Event)
    except (msgspec.DecodeError, RecursionError):
        return _Event()


def _decode(answer: bytes, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BuildError(f"Nix gives an answer that cannot be read: {error}") from None


def _advice(lines: Sequence[str]) -> str:
    foreign = next((line for line in lines if "is required to build" in line), None)
    if foreign is None:
        return ""
    return (
        "it is for another kind of machine, so name a builder of that kind, such as "
        "'ssh-ng://user@host aarch64-linux', or have this machine emulate it (binfmt, and "
        "extra-platforms in nix.conf); "
    )


async def _run(argv: Sequence[str], line: Callable[[bytes], None]) -> tuple[int, bytes]:
    """Run a command; pass the lines of its standard error to ``line``; return status and output."""
    # it must also end if we are killed, when no handler of ours runs
    die_with_us = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    process = await asyncio.create_subprocess_exec(
        *die_with_us,
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
        start_new_session=True,  # Ctrl-C reaches us, and we end it
    )
    assert process.stdout is not None  # noqa: S101 - asked for as a pipe
    assert process.stderr is not None  # noqa: S101 - asked for as a pipe
    try:
        async with beside(process.stdout.read()) as output:
            async for raw in process.stderr:
                line(raw)
            return await process.wait(), await output
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Send SIGTERM, on which Nix ends its builders, then SIGKILL to what is left."""
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            os.killpg(process.pid, number)
            async with asyncio.timeout(seconds):
                await process.wait()
