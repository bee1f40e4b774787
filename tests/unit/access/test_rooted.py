import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.access import rooted

pytestmark = pytest.mark.unit


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root").mkdir()
    descriptor = os.open(tmp_path / "root", os.O_PATH)
    yield descriptor
    os.close(descriptor)


def put(root: int, path: str, content: bytes = b"new", mode: int = 0o640) -> bool:
    return rooted.write(root, path, content, mode=mode, owner=None)


def test_folders_are_made_and_mode_is_exact(root: int, tmp_path: Path) -> None:
    assert put(root, "/a/b/c")
    assert (tmp_path / "root/a/b/c").read_bytes() == b"new"
    assert (tmp_path / "root/a/b/c").stat().st_mode & 0o7777 == 0o640
    assert [path.name for path in (tmp_path / "root/a/b").iterdir()] == ["c"]


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077, 0o777])
def test_modes_do_not_follow_the_umask(root: int, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        put(root, "/a/b/c", mode=0o644)
        rooted.make_folder(root, "/d/e")
    finally:
        os.umask(before)
    modes = {
        str(path.relative_to(tmp_path / "root")): path.stat().st_mode & 0o7777
        for path in (tmp_path / "root").rglob("*")
    }
    assert modes == {"a": 0o755, "a/b": 0o755, "a/b/c": 0o644, "d": 0o755, "d/e": 0o755}


def test_what_is_the_same_is_not_touched(root: int, tmp_path: Path) -> None:
    put(root, "/f")
    before = (tmp_path / "root/f").stat()
    assert not put(root, "/f")
    assert (tmp_path / "root/f").stat() == before
    assert put(root, "/f", mode=0o600)
    assert put(root, "/f", b"other", mode=0o600)


def test_a_link_cannot_lead_out(root: int, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "root/absolute").symlink_to(outside)
    (tmp_path / "root/upward").symlink_to("../outside")
    for name in ("absolute", "upward"):
        with pytest.raises(OSError, match="No such file"):
            put(root, f"/{name}/f")
    assert put(root, "/../../outside/f")
    assert (tmp_path / "root/outside/f").exists()
    assert list(outside.iterdir()) == []


def test_a_link_inside_leads_where_the_host_says(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/run").mkdir()
    (tmp_path / "root/var").mkdir()
    (tmp_path / "root/var/run").symlink_to("/run")
    put(root, "/var/run/f")
    assert (tmp_path / "root/run/f").read_bytes() == b"new"
    assert rooted.read(root, "/var/run/f") == b"new"


def test_a_link_in_the_place_of_a_file_is_replaced(root: int, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"new")
    victim.chmod(0o640)
    (tmp_path / "root/f").symlink_to(victim)
    assert put(root, "/f")
    assert not (tmp_path / "root/f").is_symlink()
    assert victim.read_bytes() == b"new"


def test_a_reader_sees_one_or_the_other(root: int, tmp_path: Path) -> None:
    contents = [bytes([i]) * 200_000 for i in (1, 2)]
    put(root, "/f", contents[0])
    done = threading.Event()

    def write() -> None:
        for i in range(60):
            put(root, "/f", contents[i % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert (tmp_path / "root/f").read_bytes() in contents
    writer.join()


def test_a_failed_write_leaves_nothing_behind(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/f").mkdir()
    with pytest.raises(OSError, match="directory"):
        put(root, "/f")
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["f"]
