"""Stacks for tests: the real program and the real engine, in a private copy of the project."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from e3 import private, pulumi_state
from e3.lab import client
from tests.sessions import lean

ROOT = Path(__file__).parents[1]
SOURCES = (".gitignore", "Pulumi.yaml", "__main__.py", "e3", "demos", "docs", "scripts", "tools")
CHANGING = ("up", "refresh", "destroy", "cancel")
"""The verbs of Pulumi after which a stack may be another one."""

UP_SECONDS = 600.0
END_SECONDS = 180.0
FLEET: Mapping[str, object] = {
    "e3:regions": {"ams3": 2, "sgp1": 1},
    "e3:latency-ms": {"all": 2},
}
"""A fleet that is quick to make: its session has three parties."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that ended: its exit status, and what it wrote to either stream."""

    exit: int
    said: str


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack of a private project; ``prefix`` precedes every command, such as nsenter's."""

    folder: Path
    name: str = "trial"
    environment: Mapping[str, str]
    prefix: tuple[str, ...] = ()
    base: Mapping[str, object] = field(default_factory=lambda: FLEET)

    def configure(self, values: Mapping[str, object]) -> None:
        """Set exactly these values in the stack's configuration, besides those of `base`."""
        lines = [f"  {key}: {json.dumps(value)}" for key, value in {**self.base, **values}.items()]
        # what Pulumi keeps there itself, the salt of its passphrase, has to stay
        path = self._configuration
        known = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in known if line.startswith("encryptionsalt")]
        path.write_text("\n".join(["config:", *lines, *kept, ""]))

    @property
    def _configuration(self) -> Path:
        return self.folder / f"Pulumi.{self.name}.yaml"

    @property
    def _stood(self) -> Path:
        """The configuration with which the stack was brought up, while that holds."""
        return self.folder / f"{self.name}.stood"

    def begin(self, verb: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a verb of Pulumi in a process group of its own, as a shell would."""
        if verb.split(maxsplit=1)[0] in CHANGING:
            self._stood.unlink(missing_ok=True)
        log = self.log.open("wb")
        with log:
            return subprocess.Popen(
                [*self.prefix, "pulumi", *verb.split(), "--stack", self.name, *options],
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    @property
    def log(self) -> Path:
        """What the last verb wrote."""
        return self.folder / f"{self.name}.log"

    def end(self, process: subprocess.Popen[bytes], seconds: float = END_SECONDS) -> Ended:
        """Await the end of a verb; whatever of its group outlives ``seconds`` is killed."""
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"pulumi goes on:\n{self.log.read_text()}") from None
        return Ended(exit=status, said=self.log.read_text(errors="replace"))

    def pulumi(self, verb: str, *options: str) -> Ended:
        """Run a verb of Pulumi to its end."""
        return self.end(self.begin(verb, *options), UP_SECONDS)

    def up(self, *options: str, **values: object) -> Ended:
        """Run ``pulumi up`` with these values of the configuration, named without ``e3:``."""
        self.configure({f"e3:{key.replace('_', '-')}": value for key, value in values.items()})
        return self.pulumi("up", "--yes", "--skip-preview", *options)

    def brought_up(self, *options: str, **values: object) -> dict[str, Any]:
        """Run `up`, which must succeed, and return the outputs."""
        ended = self.up(*options, **values)
        assert ended.exit == 0, ended.said
        shutil.copy(self._configuration, self._stood)
        return self.outputs

    def standing(self, **values: object) -> dict[str, Any]:
        """Bring the stack up with these values, to begin from; return the outputs.

        What `standing` or `brought_up` left with them is taken as it is, if no verb came between.
        """
        before = self._stood.read_text() if self._stood.exists() else ""
        self.configure({f"e3:{key.replace('_', '-')}": value for key, value in values.items()})
        return (
            self.outputs if before == self._configuration.read_text() else self.brought_up(**values)
        )

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources in the state, by type and name such as ``e3:Host ams3-0``."""
        path = pulumi_state.checkpoint(self.folder / ".e3", self.name)
        found = {}
        for resource in pulumi_state.read(path) if path else []:
            kind, name = resource.urn.split("::")[2:4]
            short = kind.rpartition("$")[2].removeprefix("pulumi-python:").replace("dynamic/", "")
            found[f"{short} {name}"] = msgspec.to_builtins(resource)
        return found

    @property
    def locked(self) -> bool:
        """Whether a verb that did not end well has left its lock."""
        locks = self.folder / ".e3/state/.pulumi/locks/organization/e3" / self.name
        return any(locks.glob("*.json"))

    @property
    def outputs(self) -> dict[str, Any]:
        """The stack's outputs as the state has them."""
        stack = next(r for k, r in self.resources.items() if k.startswith("pulumi:pulumi:Stack "))
        outputs: dict[str, Any] = stack["outputs"] or {}
        return outputs

    @property
    def lab(self) -> client.Lab:
        """The stack's lab."""
        return client.Lab(self.folder / ".e3" / self.name / "lab")

    @property
    def sessions(self) -> Path:
        """Where evidence is."""
        return self.folder / ".e3" / self.name / "sessions"

    def write(self, text: str, name: str = "program.py") -> str:
        """Write a program; return its name as the configuration has it."""
        (self.folder / name).write_text(lean(text))
        return name


@contextmanager
def project(folder: Path, *more: str) -> Iterator[Stack]:
    """Yield a stack in a private copy of the project, with ``more`` of it than a stack needs.

    What it made is removed at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*SOURCES, *more):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy2(source, folder / name)
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    tools = folder / ".tools" / "bin"
    tools.mkdir(parents=True)
    for tool in (ROOT / ".tools" / "bin").iterdir():
        if tool.name.startswith("pulumi"):
            (tools / tool.name).symlink_to(tool)
        else:  # hosts would not see what a symbolic link leads to
            same_file(tool.resolve(), tools / tool.name)
    private.folder(folder / ".e3" / "state")
    private.write(folder / ".e3" / "passphrase", "trial")
    stack = Stack(folder=folder, environment=activated(folder))
    try:
        initialised = stack.pulumi("stack init")
        assert initialised.exit == 0, initialised.said
        yield stack
    finally:
        for lab in folder.glob(".e3/*/lab"):
            client.stop(lab)
        for line in processes_below(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line.partition(":")[0]), signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def same_file(source: Path, target: Path) -> None:
    """Let ``target`` be the file ``source``; a copy of it on another file system."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def activated(folder: Path) -> dict[str, str]:
    """Return the environment that scripts/activate makes of this one."""
    shell = subprocess.run(
        ["sh", "-c", ". scripts/activate && exec env -0"],
        cwd=folder,
        env={key: os.environ[key] for key in ("HOME", "PATH", "LANG") if key in os.environ},
        capture_output=True,
        check=True,
        timeout=600,
    )
    entries = shell.stdout.decode().rstrip("\0").split("\0")
    return dict(entry.split("=", 1) for entry in entries)


def until(holds: Callable[[], bool], what: str | Callable[[], str], seconds: float = 180.0) -> None:
    """Return once ``holds``; fail, and say what it is, if that takes longer than ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if holds():
            return
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds:g} s: {said}")
        # what is waited for needs the processor more than who asks
        time.sleep(min(max(0.02, 5 * (time.monotonic() - asked)), 0.5))


def processes_below(folder: Path) -> list[str]:
    """Return the processes that know ``folder``: by command, working directory or mounts."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            place = str((process / "cwd").readlink())
            mounts = (process / "mountinfo").read_text()
            if str(folder) in f"{command} {place} {mounts}":
                found.append(f"{process.name}: {command}")
    return found
