"""What the steps of the set-up share: their contract, commands, and atomic files."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from installer.progress import Progress

ROOT = Path(__file__).resolve().parents[2]

AGAIN = "What was done is kept: type scripts/setup again to go on."


class SetupError(Exception):
    """A step failed; the message ends with what to type."""


class Step(Protocol):
    """A condition that must hold before E3 runs, and how to establish it."""

    @property
    def what(self) -> str:
        """What the step does and how long that usually takes, for the user."""

    def done(self) -> bool:
        """Return, within milliseconds, whether there is nothing to do."""

    def do(self) -> None:
        """Establish the condition, or raise `SetupError` and keep the former state."""


def take(steps: Sequence[Step], tools: Path) -> None:
    """Run each step that is not done yet; one set-up at a time works in the folder ``tools``."""
    if all(step.done() for step in steps):
        return
    with disk_full_explained(tools), locked(tools / "lock"):
        # Left by a set-up that was killed; no other one works here while we hold the lock.
        shutil.rmtree(tools / "aside", ignore_errors=True)
        for step in steps:
            if step.done():
                continue
            say(f"{step.what} ...")
            start = time.monotonic()
            step.do()
            say(f"  done in {time.monotonic() - start:.1f} s")


def say(line: str) -> None:
    """Tell the user."""
    print(f"set-up: {line}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(
    path: Path, waiting: str = "another set-up is at work in this folder; waiting for it"
) -> Iterator[None]:
    """Hold the lock of that file; the kernel releases it however this process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def aside(tools: Path) -> Iterator[Path]:
    """Yield a temporary folder on the file system of the final places."""
    (tools / "aside").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tools / "aside") as folder:
        yield Path(folder)


def write(path: Path, text: str, tools: Path) -> None:
    """Write a file atomically: it has all of the text or does not exist."""
    with aside(tools) as folder:
        (folder / path.name).write_text(text)
        path.parent.mkdir(parents=True, exist_ok=True)
        (folder / path.name).replace(path)


def read(path: Path) -> str:
    """Return the file's text, or "" if it does not exist."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def digest(*parts: str | Path) -> str:
    """Return a short digest of texts and of files' contents."""
    state = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        state.update(len(content).to_bytes(8) + content)
    return state.hexdigest()[:16]


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    remedy: str = AGAIN,
    each: Callable[[str], object] = lambda _: None,
) -> str:
    """Run a command and return its output; raise `SetupError` with the last lines if it fails.

    ``each`` is called with each line at once.
    """
    command = [str(word) for word in argv]
    lines = []
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line)
                each(line)
        except BaseException:
            process.kill()
            raise
    output = "".join(lines)
    if process.returncode:
        if "no space left on device" in output.lower():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        last = "\n".join(output.strip().splitlines()[-15:])
        raise SetupError(f"{shlex.join(command)} failed ({process.returncode}):\n{last}\n{remedy}")
    return output


def pip_install(python: Path, lock: Path, *options: str | Path) -> None:
    """Install exactly what the lock names, from the package index of this machine."""
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--require-hashes"]
    pinned = sum("==" in line for line in lock.read_text().splitlines())
    progress = Progress("packages fetched", pinned, last="installing")

    def each(line: str) -> None:
        if line.startswith("Collecting "):
            progress.step()
        elif line.startswith("Installing collected packages"):
            progress.complete()

    quiet = ["--progress-bar", "off"]
    run([python, *pip, *quiet, *options, "--requirement", lock], each=each)
    progress.end()


@contextlib.contextmanager
def disk_full_explained(tools: Path) -> Iterator[None]:
    """Turn "no space left" into an error that says where, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        free = ", ".join(
            f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB in {folder}"
            for folder in (tools, Path.home(), Path(tempfile.gettempdir()))
            if folder.exists()
        )
        raise SetupError(
            "the disk is full. Set-up takes up to 5 GB, all but 1 GB for as long as it builds "
            f"with Go; free are now: {free}.\nMake room. {AGAIN}"
        ) from error
