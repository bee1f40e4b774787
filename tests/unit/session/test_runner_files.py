"""The shipped runner: it is compiled once, and never taken from a damaged cache."""

import io
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3 import party
from e3.interfaces import File
from e3.session.runner_files import runner_files


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the bytecode of this test is kept."""
    copy = shutil.copytree(
        party.__path__[0], tmp_path / "party", ignore=shutil.ignore_patterns("__pycache__")
    )
    monkeypatch.setattr(party, "__path__", [str(copy)])
    yield copy / "__pycache__"
    runner_files.cache_clear()


def made_anew() -> tuple[File, ...]:
    """Return the files as another process would."""
    runner_files.cache_clear()
    return runner_files()


def test_bytecode_is_kept_for_the_next_process(cache: Path) -> None:
    first = made_anew()
    (kept,) = cache.iterdir()
    since = kept.stat().st_mtime_ns
    assert made_anew() == first
    assert [path.stat().st_mtime_ns for path in cache.iterdir()] == [since]


def test_others_may_read_what_is_kept_whatever_the_umask(cache: Path) -> None:
    before = os.umask(0o077)
    try:
        made_anew()
    finally:
        os.umask(before)
    (kept,) = cache.iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (cache, kept)] == [0o755, 0o644]


@pytest.mark.parametrize("damage", ["empty", "cut", "changed"])
def test_a_damaged_cache_is_made_anew(cache: Path, damage: str) -> None:
    (first,) = made_anew()
    (kept,) = cache.iterdir()
    whole = first.content
    kept.write_bytes(
        {"empty": b"", "cut": whole[:-1000], "changed": whole.replace(b"lifeline", b"lifetime")}[
            damage
        ]
    )
    assert made_anew() == (first,)
    assert kept.read_bytes() == whole


def test_where_nothing_can_be_kept_it_is_compiled_each_time(cache: Path) -> None:
    cache.touch()  # a file in the folder's place
    (archive,) = made_anew()
    with zipfile.ZipFile(io.BytesIO(archive.content)) as content:
        assert "e3/party/runner.pyc" in content.namelist()
    assert cache.is_file()
