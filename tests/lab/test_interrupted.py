"""`pulumi up` that is interrupted, at any moment and in any way, then run again."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.stack import Ended, Stack, processes_below, until

HELLO = "demos/helloworld.py"
ENDLESS = """
import os, time
from mpyc.runtime import mpc
if os.fork() == 0:
    os.setsid()
print("on", flush=True)
time.sleep(1000)
"""
GRACEFUL_SECONDS = 60.0


def begun(stack: Stack) -> bool:
    return "Updating" in stack.log.read_text()


def has_lab(stack: Stack) -> bool:
    return stack.lab.alive()


def has_a_host(stack: Stack) -> bool:
    return stack.lab.alive() and bool(stack.lab.hosts())


def joins(stack: Stack) -> bool:
    """Return whether some host has a service of the overlay."""
    return stack.lab.alive() and any(
        Path(f"/proc/{host.identity.pid}/root/run/service/nebula").exists()
        for host in stack.lab.hosts()
    )


def computes(stack: Stack) -> bool:
    """Return whether every party's program runs."""
    logs = list((stack.sessions / "latest").glob("*.log"))
    return len(logs) == 3 and all("on\n" in log.read_text() for log in logs)


MOMENTS: dict[str, Callable[[Stack], bool]] = {
    "begun": begun,
    "lab": has_lab,
    "host": has_a_host,
    "overlay": joins,
    "session": computes,
}


def interrupt(stack: Stack, moment: str, send: Callable[[subprocess.Popen[bytes]], None]) -> Ended:
    """Run `pulumi up` until the moment, then end it by ``send``; return how it ended."""
    stack.configure({"e3:program": stack.write(ENDLESS)})
    (stack.sessions / "latest").unlink(missing_ok=True)  # else an earlier one would be taken for it
    process = stack.begin("up --yes --skip-preview")
    try:
        until(lambda: MOMENTS[moment](stack) or process.poll() is not None, moment)
        assert process.poll() is None, stack.log.read_text()
        send(process)
        return stack.end(process, GRACEFUL_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def once(process: subprocess.Popen[bytes]) -> None:
    """Send what Ctrl-C in a terminal sends."""
    os.killpg(process.pid, signal.SIGINT)


def twice(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.2)  # two in one moment are one to the kernel
    os.killpg(process.pid, signal.SIGINT)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)


def running(stack: Stack) -> list[str]:
    """Return what runs of a stack, but for a language host whose engine was killed.

    That one looks every five minutes whether its engine lives (pulumi/sdk v3.79.0,
    python/cmd/pulumi-language-python/main.go), and does nothing until then.
    """
    lines = processes_below(stack.folder)
    return [line for line in lines if "/pulumi-language-python " not in line]


def busy(stack: Stack) -> list[str]:
    """Return what still runs of a deployment: the engine, its helpers, parties; not the lab."""
    return [
        line
        for line in running(stack)
        if any(word in line for word in ("pulumi", "python")) and "e3.lab.daemon" not in line
    ]


@pytest.fixture
def fresh(stack: Stack) -> Iterator[Stack]:
    """A stack of which nothing exists yet."""
    yield stack
    if stack.resources or stack.locked:
        stack.pulumi("cancel --yes")
        ended = stack.pulumi("destroy --yes --skip-preview")
        assert ended.exit == 0, ended.said


def goes_on(stack: Stack, *, may_be_locked: bool = False) -> None:
    """Assert that nothing of the first deployment runs, and that another one succeeds.

    Pulumi says that it begins after it took its lock and before it listens to Ctrl-C (v3.259,
    backend/diy: `Update` and `apply`): who hits that moment has to type what the next `up` says.
    """
    until(lambda: not busy(stack), lambda: f"still runs: {busy(stack)}")
    if may_be_locked and stack.locked:
        assert "`pulumi cancel`" in stack.up(program=HELLO).said
        assert stack.pulumi("cancel --yes").exit == 0
    ended = stack.up(program=HELLO)
    assert ended.exit == 0, ended.said
    assert stack.outputs["session"]["verdict"] == "completed"
    assert sorted(host.name for host in stack.lab.hosts()) == ["ams3-0", "ams3-1", "sgp1-0"]
    until(lambda: not busy(stack), lambda: f"still runs: {busy(stack)}")
    ended = stack.pulumi("destroy --yes --skip-preview")
    assert ended.exit == 0, ended.said
    assert running(stack) == []
    assert stack.resources == {}


def at(*lean: str, of: Iterable[str]) -> pytest.MarkDecorator:
    """Try these moments by default, and all by the marker `long`."""
    every = [pytest.param(m, marks=[] if m in lean else [pytest.mark.long]) for m in of]
    return pytest.mark.parametrize("moment", every)


@at("session", of=MOMENTS)
def test_ctrl_c_ends_it_soon_and_another_up_goes_on(fresh: Stack, moment: str) -> None:
    ended = interrupt(fresh, moment, once)
    assert ended.exit != 0
    assert "Traceback" not in ended.said
    if moment == "session":
        result = fresh.sessions / "latest" / "result.json"
        assert '"verdict": "cancelled"' in result.read_text()
    goes_on(fresh, may_be_locked=moment == "begun")


@at(of=["host", "session"])
def test_a_second_ctrl_c_ends_it_at_once(fresh: Stack, moment: str) -> None:
    ended = interrupt(fresh, moment, twice)
    assert ended.exit != 0
    fresh.pulumi("cancel --yes")
    goes_on(fresh)


@at("session", of=["host", "overlay", "session"])
def test_a_killed_pulumi_leaves_a_lock_and_nothing_that_runs(fresh: Stack, moment: str) -> None:
    ended = interrupt(fresh, moment, kill)
    assert ended.exit == -signal.SIGKILL
    until(lambda: not busy(fresh), lambda: f"still runs: {busy(fresh)}")
    locked = fresh.up(program=HELLO)
    assert locked.exit != 0
    assert "pulumi cancel" in locked.said
    assert fresh.pulumi("cancel --yes").exit == 0
    goes_on(fresh)
