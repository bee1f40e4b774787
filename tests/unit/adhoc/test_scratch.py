"""What a session has on the disk is gone with it, also if its process was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from e3.adhoc.scratch import FOLDER, scratch
from tests.commands import ROOT

pytestmark = pytest.mark.unit

HOLD = """
import sys
from pathlib import Path
from e3.adhoc.scratch import scratch
with scratch(Path(sys.argv[1])) as place:
    (place / "inputs").mkdir()
    (place / "inputs" / "bids.csv").write_text("310")
    print(place, flush=True)
    sys.stdin.read()
"""


def test_a_session_leaves_nothing(tmp_path: Path) -> None:
    with scratch(tmp_path) as place:
        (place / "bids.csv").write_text("310")
        assert place.stat().st_mode & 0o077 == 0
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        killed, running = (
            Path(str(each.stdout and each.stdout.readline().strip())) for each in holders
        )
        holders[0].send_signal(signal.SIGKILL)
        holders[0].wait()
        other = tmp_path / FOLDER / "notes"
        other.mkdir()
        assert (killed / "inputs/bids.csv").exists()
        with scratch(tmp_path):
            assert not killed.exists()
            assert (running / "inputs/bids.csv").exists()
            assert other.exists()
    finally:
        for each in holders:
            each.communicate()
    assert not running.exists()


def test_a_process_with_the_number_of_a_dead_one_keeps_nothing(tmp_path: Path) -> None:
    dead = tmp_path / FOLDER / f"{os.getpid()}-1-0123abcd"
    dead.mkdir(parents=True)
    with scratch(tmp_path):
        assert not dead.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "file").touch()
    link = tmp_path / FOLDER / "1-1-0123abcd"
    link.parent.mkdir()
    link.symlink_to(target)
    with scratch(tmp_path):
        assert (target / "file").exists()
