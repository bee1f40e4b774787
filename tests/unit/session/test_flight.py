"""Processes that try to escape being killed, on hosts without a PID namespace for them."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from e3.party.confine import FIRST_USER
from e3.session.verdicts import Verdict
from tests.sessions import Bench

DEATH_SECONDS = 60.0

FLIGHT = """
    import os, time
    from mpyc.runtime import mpc
    mpc.run(mpc.start())
    print(os.getuid())
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


def alive(users: set[int]) -> list[str]:
    """Return the processes of these users: other tests run sessions meanwhile."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            if entry.name.isdigit() and entry.stat().st_uid in users:
                found.append(entry.name)
    return found


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives a party a user of its own")
def test_processes_that_flee_are_all_killed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    result = bench.run(FLIGHT)
    assert result.verdict is Verdict.COMPLETED, result.reason
    users = {int(party.output) for party in result.parties}
    assert all(user >= FIRST_USER for user in users)
    deadline = time.monotonic() + DEATH_SECONDS
    while left := alive(users):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)  # they have been killed, and die as the machine finds time for them
    assert bench.leftovers() == []
