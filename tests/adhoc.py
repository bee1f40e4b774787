"""People at terminals of their own, who invite and join as the manual says."""

import contextlib
import json
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.commands import ROOT

E3 = ROOT / "scripts" / "bin" / "e3"
SECONDS = 60.0
LINK = re.compile(r"e3 join '([^']+)'")
COUNTING = """
import asyncio
import sys

from mpyc.runtime import mpc


async def main():
    secint = mpc.SecInt(32)
    async with mpc:
        total = secint(0)
        for _ in range(int(sys.argv[1])):
            total += sum(mpc.input(secint(1)))
            await mpc.output(total)
            await asyncio.sleep(0.1)
        print("counted", await mpc.output(total))


mpc.run(main())
"""
"""A program whose parties count together, so many times as its argument says, each for 0.1 s."""


class Typist:
    """A person at a terminal where one command runs; what it prints is read all the time."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        """Sit at ``terminal``."""
        self.process = process
        self.shown = ""
        self._terminal = terminal
        self._read = 0
        self._changed = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._follow)
        self._reader.start()

    def await_text(self, pattern: str, seconds: float = SECONDS) -> re.Match[str]:
        """Return the next text that matches; fail if the command ends or is silent before."""

        def found() -> re.Match[str] | bool | None:
            return re.compile(pattern).search(self.shown, self._read) or self._over

        with self._changed:
            match = self._changed.wait_for(found, seconds)
            assert isinstance(match, re.Match), f"waited for {pattern!r}; shown is\n{self.shown}"
            self._read = match.end()
            return match

    def type(self, line: str) -> None:
        """Type a line."""
        self.press(f"{line}\n")

    def press(self, keys: str) -> None:
        """Press keys, such as the tabulator."""
        os.write(self._terminal, keys.encode())

    def end(self) -> int:
        """Return the exit status, once the command has ended and all it printed was read."""
        status = self.process.wait(timeout=SECONDS)
        with self._changed:
            assert self._changed.wait_for(lambda: self._over, SECONDS), self.shown
        return status

    def leave(self) -> None:
        """End the command, and close the terminal."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=20)
        self.process.kill()
        self.process.wait()
        self._reader.join(timeout=5)
        os.close(self._terminal)

    def _follow(self) -> None:
        while True:
            try:
                data = os.read(self._terminal, 65_536)
            except OSError:  # the other end is closed
                data = b""
            with self._changed:
                self.shown += data.decode(errors="replace")
                self._over = not data
                self._changed.notify_all()
            if not data:
                return


@dataclass
class PersonAtHome:
    """Somebody with a home folder of their own; ``inside`` is what enters their machine."""

    home: Path
    mediator: str = ""
    inside: Sequence[str] = ()
    more: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str | Path] = (E3,)

    @property
    def environment(self) -> dict[str, str]:
        """What a shell of this person exports."""
        more = {"E3_HOME": str(self.home), "E3_MEDIATOR": self.mediator, "COLUMNS": "100"}
        return {**os.environ, **more, **self.more}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, without a terminal."""
        return subprocess.run(
            [*self.inside, *self.command, *words],
            env=self.environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    @property
    def did(self) -> str:
        """The person's lasting DID."""
        return str(json.loads(self.run("id", "--json").stdout)["did"])

    @contextmanager
    def typing(self, *words: str) -> Iterator[Typist]:
        """Yield the terminal where a command runs."""
        argv = [*self.inside, *self.command, *words]
        with at_terminal(argv, self.environment, ROOT) as typist:
            yield typist


@contextmanager
def at_terminal(
    argv: Sequence[str | Path], environment: Mapping[str, str], cwd: Path | None = None
) -> Iterator[Typist]:
    """Yield a terminal of its own where a program runs, which ends with the context."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    typist = Typist(process, ours)
    try:
        yield typist
    finally:
        typist.leave()
        sys.stdout.write(f"{Path(argv[0]).name} {argv[-1]}:\n{typist.shown}\n")  # if it fails


def acquainted(persons: Sequence[PersonAtHome]) -> None:
    """Let all know one another by name."""
    dids = [each.did for each in persons]
    for each in persons:
        for other, did in zip(persons, dids, strict=True):
            if other is not each:
                each.run("id", "--know", did, other.home.name)


def people(folder: Path, names: Sequence[str], mediator: str) -> list[PersonAtHome]:
    """Return people of these names."""
    made = [PersonAtHome(folder / name, mediator) for name in names]
    for name, each in zip(names, made, strict=True):
        assert each.run("id", "--name", name).returncode == 0
    return made


@contextmanager
def mediator(
    folder: Path, port: int = 0, *, host: str = "127.0.0.1", inside: Sequence[str] = ()
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yield the URL of a mediator that runs meanwhile, and its process."""
    port = port or free_port()
    url = f"http://{host}:{port}/"
    listen = ["--listen", f"{host}:{port}", "--relay", "0", "0", "0"]
    environment = {**os.environ, "E3_HOME": str(folder / "mediator")}
    with serving([*inside, E3, "mediator", *listen], environment) as process:
        yield url, process


@contextmanager
def serving(
    argv: Sequence[str | Path], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Yield the process of a mediator, once it takes messages."""
    process = subprocess.Popen(
        argv, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    out = process.stdout
    assert out is not None
    try:
        assert out.readline().startswith(b"the mediator takes messages")
        yield process
    finally:
        process.terminate()
        process.wait(timeout=20)
        out.close()


def free_port() -> int:
    """Return a port of the loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def rooms_work() -> bool:
    """Return whether this machine permits what a session needs."""
    apart = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "true"]
    done = subprocess.run(apart, capture_output=True, check=False)
    tunnel = ROOT / ".tools/bin/e3-tunnel"
    return done.returncode == 0 and tunnel.exists() and os.access("/dev/net/tun", os.R_OK | os.W_OK)
