"""What an inviter keeps while it waits; in test_rounds.py one is killed and goes on."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from e3.adhoc import kept
from e3.errors import SessionError
from tests.unit.didcomm.parties import invitation, people, proposal

pytestmark = pytest.mark.unit

OVER = -3600
VALID = 3600


def left_by_a_dead_process(home: Path, name: str, seconds: int) -> Path:
    """Leave an invitation that ends in so many seconds."""
    (host,) = people(1)
    now = int(time.time())
    made = replace(invitation(host), name=name, created=now - 7200, expires=now + seconds)
    keeper = kept.new(home, kept.of(made, host.session, proposal()))
    keeper.write()
    random = keeper.path.name.rpartition("-")[2]
    return keeper.path.rename(keeper.path.with_name(f"{os.getpid()}-1-{random}"))


def test_the_newest_interrupted_invitation_is_taken_once_and_older_ones_are_forgotten(
    tmp_path: Path,
) -> None:
    older, newer = (left_by_a_dead_process(tmp_path, name, VALID) for name in ("old", "new"))
    os.utime(older, (0, 0))
    taken = kept.take(tmp_path)
    assert taken.last.invitation.name == "new"
    assert taken.path.exists()  # whoever is killed or fails now has not lost it
    assert not older.exists()
    assert not newer.exists()
    with pytest.raises(SessionError, match="no invitation of yours was interrupted"):
        kept.take(tmp_path)  # this process, which has it, runs
    with kept.keeping(taken):
        assert taken.path.stat().st_mode & 0o077 == 0
    assert not taken.path.exists()


def test_keys_of_an_invitation_that_is_over_go_with_the_next(tmp_path: Path) -> None:
    valid, over = (left_by_a_dead_process(tmp_path, "x", seconds) for seconds in (VALID, OVER))
    (host,) = people(1)
    kept.new(tmp_path, kept.of(invitation(host), host.session, proposal()))
    assert not over.exists()
    assert valid.exists()
