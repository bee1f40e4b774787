"""Processes that try to escape being killed, on hosts without a PID namespace for them."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from e3.party.confine import FIRST_USER
from e3.session.verdicts import Verdict
from tests.sessions import Bench

DEATH_SECONDS = 30.0

FLIGHT = """
    import os, time
    from mpyc.runtime import mpc
    mpc.run(mpc.start())
    if mpc.pid == 0:
        for _ in range(40):
            try:
                flees = os.fork() == 0
            except OSError:  # those that flee are as many as may be
                continue
            if flees:
                os.setsid()
                while True:
                    try:
                        if os.fork():
                            os._exit(0)
                    except OSError:
                        pass
        time.sleep(1)
    mpc.run(mpc.shutdown())
"""


def users() -> set[int]:
    """Return whose processes there are on this machine."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            found |= {entry.stat().st_uid} if entry.name.isdigit() else set()
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives a party a user of its own")
def test_processes_that_flee_are_all_killed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    before = users()
    result = bench.run(FLIGHT)
    assert result.verdict is Verdict.COMPLETED, result.reason
    deadline = time.monotonic() + DEATH_SECONDS
    while left := [user for user in users() - before if user >= FIRST_USER]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)  # they have been killed, and die as the machine finds time for them
    assert bench.leftovers() == []
