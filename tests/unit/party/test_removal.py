"""A session's folder is removed, whatever a program has made in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from e3.party.removal import LOST, remove

LEVELS = 2_100
"""More than Python's recursion allows, and twice as long as a path may be."""

AS_NOBODY = """
import os, sys
os.setgid(65534), os.setuid(65534)
from e3.party.removal import remove
sys.exit(not remove(sys.argv[1]))
"""


def nest(folder: Path, name: str, levels: int = LEVELS) -> None:
    """Make folders of that name, each in the one before."""
    inner = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=inner)
        below = os.open(name, os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
    os.close(inner)


@pytest.mark.parametrize("name", ["d", f"{LOST}0", "a" * 250])
def test_folders_nested_deeply(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "session"
    folder.mkdir()
    nest(folder, name)
    assert remove(str(folder))
    assert not folder.exists()


def test_what_is_no_file_and_what_leads_outside(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "inner").mkdir(parents=True)
    folder = tmp_path / "session"
    (folder / "x" / "y").mkdir(parents=True)
    for place in (folder, folder / "x", folder / "x" / "y"):
        (place / "link").symlink_to(kept)
        (place / "lost").symlink_to("nowhere")
        os.mkfifo(place / "pipe")
    assert remove(str(folder))
    assert (kept / "inner").is_dir()
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_a_folder_that_is_not_there_is_gone_and_one_that_stays_is_told(tmp_path: Path) -> None:
    assert remove(str(tmp_path / "none"))
    (tmp_path / "link").symlink_to(tmp_path)
    assert not remove(str(tmp_path / "link"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes somebody else")
def test_folders_that_their_owner_has_locked() -> None:
    top = Path("/tmp", f"e3-removal-{os.getpid()}")  # noqa: S108 -- where nobody may go, too
    try:
        (top / "session" / "a" / "b" / "c").mkdir(parents=True)
        for path in (top, *top.rglob("*")):
            os.chown(path, 65534, 65534)
        for path in sorted((top / "session").rglob("*"), reverse=True):
            path.chmod(0)
        (top / "session").chmod(0)
        argv = [sys.executable, "-c", AS_NOBODY, str(top / "session")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert not (top / "session").exists()
    finally:
        subprocess.run(["rm", "-rf", top], check=True)
