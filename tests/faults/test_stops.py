"""When one party fails, all stop at once, everywhere: by the clock that all hosts of a lab share.

Each process of each party, a daemon included, prints the time until it is gone.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from e3.overlays.plain import Plain
from tests.faults.stage import STOP_SECONDS, Stage, all_print
from tests.labs import running
from tests.overlays import Mesh

AT_ONCE = 4
ENOUGH_TICKS = 2
MEMORY_MB = 400
FILLED = 4
"""Children of 100 MB each: the limit is exceeded when the last one has filled its memory."""

TICKING = """
import asyncio, os, signal, sys, threading, time
from mpyc.runtime import mpc

def tick(who):
    while True:
        print(f"{who} {time.monotonic()}", flush=True)
        time.sleep(0.02)

if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tick("daemon")
threading.Thread(target=tick, args=("main",), daemon=True).start()

def cause():
    print(f"cause {time.monotonic()}", flush=True)

class Order:
    def __reduce__(self):
        return os.system, ("true",)

def fork_and_fill():
    reading, writing = os.pipe()
    for _ in range(8):
        if os.fork() == 0:
            filled = b"x" * 100_000_000
            cause()
            os.write(writing, b".")
            time.sleep(1000)
        os.read(reading, 1)
    time.sleep(1000)

ACTS = {
    "exits": lambda: sys.exit("no"),
    "raises": lambda: 1 / 0,
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "ends at once": lambda: os._exit(3),
    "floods": lambda: [print("x" * 10_000) for _ in range(1000)],
    "takes memory": fork_and_fill,
    "sends an order": lambda: mpc.run(mpc.transfer(Order(), senders=[2])),
}

mpc.run(mpc.start())
mpc.run(mpc.output(mpc.input(mpc.SecInt()(mpc.pid))))
time.sleep(0.5)  # some ticks of all
print("on", flush=True)
act = ACTS.get(sys.argv[-1])
if act and mpc.pid == 2:
    cause()
    act()
if sys.argv[-1] == "sends an order":
    mpc.run(mpc.transfer(None, senders=[2]))
time.sleep(1000)
"""


def itself(stage: Stage, kind: str) -> float:
    """Let party 2 fail by itself; return the time of that, which it printed."""
    limits = replace(stage.rules.limits, memory_mb=MEMORY_MB, output_mb=1)
    stage.rules = replace(stage.rules, limits=limits)
    result = stage.run(TICKING, kind)
    assert result.verdict == "party-failed", result.reason
    assert result.concerned == (2,), result.reason
    causes = re.findall(r"^cause ([\d.]+)", stage.log(result, 2), re.MULTILINE)
    return sorted(map(float, causes))[: 1 + FILLED][-1]


def host_removed(stage: Stage, _kind: str) -> float:
    result = stage.run(
        TICKING, when=all_print("on"), then=lambda: stage.lab.remove_host(stage.hosts[2].name)
    )
    assert result.verdict == "unreachable", result.reason
    return stage.shown_seconds


def deadline(stage: Stage, _kind: str) -> float:
    stage.deadline_seconds = 4.0
    result = stage.run(TICKING)
    assert result.verdict == "timed-out", result.reason
    return stage.shown_seconds + stage.deadline_seconds


def cancelled(stage: Stage, _kind: str) -> float:
    with suppress(asyncio.CancelledError):
        stage.cancel(stage.write(TICKING), word="on")
        raise AssertionError("it was not cancelled")
    return stage.shown_seconds


KINDS: Mapping[str, Callable[[Stage, str], float]] = {
    "exits": itself,
    "raises": itself,
    "is killed": itself,
    "ends at once": itself,
    "floods": itself,
    "takes memory": itself,
    "sends an order": itself,
    "loses its host": host_removed,
    "comes to the deadline": deadline,
    "is cancelled": cancelled,
}


@pytest.fixture(scope="module")
def stops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, "Future[float]"]]:
    """Run all kinds of failure, each on three hosts of its own."""
    folder = tmp_path_factory.mktemp("stops")
    with (
        running(folder / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        futures = {}
        for number, kind in enumerate(KINDS):
            mesh = Mesh(lab, Plain())
            futures[kind] = pool.submit(try_one, mesh, folder / str(number), number, kind)
        yield futures


def try_one(mesh: Mesh, place: Path, number: int, kind: str) -> float:
    """Return how long after the cause the last process of any party still printed something."""
    place.mkdir()
    names = [f"ams3-{3 * number + i}" for i in range(3)]
    mesh.add(*names)
    stage = Stage(place, mesh.lab, list(mesh.hosts), mesh.connect(*names).addresses, "plain")
    cause = KINDS[kind](stage, kind)
    ended = time.monotonic()
    assert cause < ended
    last = []
    for log in sorted(place.glob("sessions/2*/*.log")):
        for who in ("main", "daemon"):
            ticks = re.findall(rf"^{who} ([\d.]+)$", log.read_text(), re.MULTILINE)
            assert len(ticks) >= ENOUGH_TICKS
            last.append(float(ticks[-1]))
    assert len(last) == 6
    assert max(last) < ended, "something goes on after the verdict"
    return max(last) - cause


@pytest.mark.parametrize("kind", KINDS)
def test_all_parties_stop(
    stops: Mapping[str, "Future[float]"], kind: str, record_property: Callable[[str, object], None]
) -> None:
    seconds = stops[kind].result(timeout=600)
    record_property("stop_seconds", seconds)
    record_property("late", seconds > STOP_SECONDS)
