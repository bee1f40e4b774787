"""What is for its owner alone is so from its first moment, whatever the caller's umask."""

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3 import private
from e3.digitalocean import record
from e3.inventory.provision import LEFT_BEHIND
from e3.session.evidence import Evidence
from e3.session.queue import LOCK, front_of_queue


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids="{:03o}".format)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
class TestUmask:
    def test_folders_and_files_are_closed(self, tmp_path: Path) -> None:
        place = private.folder(tmp_path / ".e3/dev/sessions")
        private.write(place / "a", "1")
        private.append(place / "b", "1\n")
        private.append(place / "b", "2\n")
        os.close(private.descriptor(place / "c", os.O_RDWR))
        assert {mode(path) for path in place.iterdir()} == {0o600}
        assert {mode(path) for path in (place, place.parent, place.parents[1])} == {0o700}
        assert (place / "b").read_text() == "1\n2\n"

    def test_so_is_all_that_a_session_leaves(self, tmp_path: Path) -> None:
        sessions = tmp_path / ".e3/dev/sessions"

        async def trial() -> None:
            async with front_of_queue(sessions, print):
                evidence = Evidence(sessions, "20260101-000000-abcd")
                with evidence.log("ams3-0") as log:
                    log.write("x\n")
                evidence.write("result.json", "{}")

        asyncio.run(trial())
        record.add(tmp_path / ".e3/dev", record.CloudRecord(label="x"))
        private.append(tmp_path / ".e3/dev" / LEFT_BEHIND, "x\n")
        assert (sessions / LOCK).exists()
        assert private.loose(tmp_path / ".e3") == []
        assert mode(evidence_of(sessions)) == 0o700


def evidence_of(sessions: Path) -> Path:
    return (sessions / "latest").resolve()


def test_what_an_older_version_left_is_closed_in_use(tmp_path: Path) -> None:
    place = tmp_path / ".e3/dev"
    place.mkdir(parents=True)
    for path in (place, place.parent):
        path.chmod(0o755)
    (place / "x").touch(0o644)
    private.append(private.folder(place) / "x", "1")
    assert [mode(path) for path in (place.parent, place, place / "x")] == [0o700, 0o700, 0o600]


def test_all_below_is_found_and_closed_but_what_hosts_show(tmp_path: Path) -> None:
    lab = tmp_path / ".e3/dev/lab"
    lab.mkdir(parents=True)
    for name in ("hosts", "resolv.conf", "lab.log", "lab.sock"):
        (lab / name).touch()
        (lab / name).chmod(0o644)
    (lab / "link").symlink_to("/etc/passwd")
    (lab / "nowhere").symlink_to("/nonexistent")
    (tmp_path / ".e3/tool").touch()
    (tmp_path / ".e3/tool").chmod(0o755)
    before = mode(Path("/etc/passwd"))
    assert len(private.loose(tmp_path / ".e3")) == 6
    private.close(tmp_path / ".e3")
    assert private.loose(tmp_path / ".e3") == []
    assert mode(lab / "hosts") == mode(lab / "resolv.conf") == 0o644
    assert mode(tmp_path / ".e3/tool") == 0o700
    assert mode(Path("/etc/passwd")) == before
    assert private.loose(tmp_path / "nothing") == []


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "log").symlink_to("theirs")
    with pytest.raises(OSError, match="symbolic links"):
        private.append(tmp_path / "log", "ours")
    private.write(tmp_path / "log", "ours")
    assert (tmp_path / "theirs").read_text() == "theirs"


@given(content=st.one_of(st.binary(max_size=5000), st.text(max_size=2000)))
def test_is_written_whole(tmp_path_factory: pytest.TempPathFactory, content: bytes | str) -> None:
    folder = tmp_path_factory.mktemp("whole")
    for _ in range(2):
        private.write(folder / "file", content)
    encoded = content if isinstance(content, bytes) else content.encode()
    assert (folder / "file").read_bytes() == encoded
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_an_error_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="file") as caught:
        private.write(tmp_path / "file", "x")
    assert caught.value.filename == str(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
