"""Programs in proposals: what was packed is what is unpacked, and nothing leaves its folder."""

import base64
from pathlib import Path

import msgspec
import pytest

from e3.adhoc.programs import propose, sources, unpack
from e3.didcomm.errors import DidcommError
from e3.didcomm.session.bodies import ProgramFile, Proposal
from e3.errors import ProgramError
from e3.session import programs

pytestmark = pytest.mark.unit

HELLO = "from mpyc.runtime import mpc\nprint('hello')\n"


def folder(tmp_path: Path) -> Path:
    place = tmp_path / "survey"
    (place / "data" / "empty").mkdir(parents=True)
    (place / "main.py").write_text(HELLO)
    (place / "data" / "table.csv").write_text("1,2\n")
    (place / "run.sh").write_text("#!/bin/sh\n")
    (place / "run.sh").chmod(0o755)
    return place


def proposed(path: Path) -> Proposal:
    program = programs.load(path, ["--bids", "5"])
    return propose(program, parties=5, deadline_seconds=60, note="")


def changed(made: Proposal, name: str, content: str = "x") -> Proposal:
    file = ProgramFile(path=name, content=base64.urlsafe_b64encode(content.encode()).decode())
    return msgspec.structs.replace(made, files=(*made.files, file))


def test_a_folder_arrives_as_it_was(tmp_path: Path) -> None:
    made = proposed(folder(tmp_path))
    found = unpack(made, tmp_path / "there")
    assert (found.digest, found.entry, found.args) == (made.digest, "main.py", ("--bids", "5"))
    assert (tmp_path / "there/data/empty").is_dir()
    assert (tmp_path / "there/run.sh").stat().st_mode & 0o111


def test_a_file_arrives_alone(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    made = proposed(tmp_path / "hello.py")
    assert made.threshold == 2
    assert unpack(made, tmp_path / "there").path == tmp_path / "there" / "hello.py"
    assert HELLO in sources(made)


def test_another_program_than_the_digest_says_is_refused(tmp_path: Path) -> None:
    made = proposed(folder(tmp_path))
    with pytest.raises(DidcommError, match="another one than its digest"):
        unpack(changed(made, "more.py"), tmp_path / "there")


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "a//b", "./x", "..", "x\0y", "a" * 300]
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    made = changed(proposed(folder(tmp_path)), name)
    with pytest.raises(DidcommError, match="no file's name"):
        unpack(made, tmp_path / "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["survey", "there"]


@pytest.mark.parametrize("name", ["main.py/x", "data", "\N{SNOWMAN}" * 199])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DidcommError, match="cannot be written"):
        unpack(changed(proposed(folder(tmp_path)), name), tmp_path / "there")


def test_a_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DidcommError, match="twice"):
        unpack(changed(proposed(folder(tmp_path)), "main.py"), tmp_path / "there")


def test_a_program_of_many_megabytes_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "data" / "table.csv").write_bytes(bytes(3_000_000))
    with pytest.raises(ProgramError, match="an invitation takes 2 MB"):
        proposed(place)


def test_what_is_no_text_is_not_shown(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "picture.png").write_bytes(b"\x89PNG\xff")
    assert "[5 bytes that are no text]" in sources(proposed(place))
