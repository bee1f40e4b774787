"""What a program leaves in its output folder: taken, within limits, and whatever it is."""

import os
import stat
from pathlib import Path

import pytest

from e3.experiment import Limits, Rules
from e3.party.keeping import KEEP, prune
from e3.party.outputs import SEEN, LeftOut, fault_of, find
from e3.party.protocol import Spec
from e3.session import events
from e3.session.events import EventError
from e3.session.outputs import PartyOutput
from e3.session.verdicts import Verdict
from tests.sessions import Bench

pytestmark = pytest.mark.unit

ODD = """
import os, socket
out = os.environ["E3_OUTPUT"]
os.chdir(out)
open("total.txt", "w").write("42")
os.makedirs("a/b")
open("a/b/much.bin", "wb").write(bytes(range(256)) * 800)
os.chmod("a", 0)
open("empty", "w")
os.chmod("empty", 0)
os.symlink("/etc/passwd", "link")
os.symlink("/etc", "folder-link")
os.mkfifo("pipe")
socket.socket(socket.AF_UNIX).bind("socket")
open("two\\nlines", "w").write("x")
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def taken(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_are_in_the_evidence_and_whatever_else_is_named(bench: Bench) -> None:
    result = bench.run(ODD, parties=1)
    assert result.verdict is Verdict.COMPLETED, result.reason
    folder = bench.sessions / result.id / "output" / "local-0"
    much = bytes(range(256)) * 800
    assert taken(folder) == {"total.txt": b"42", "a/b/much.bin": much, "empty": b""}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert modes == {0o700, 0o600}
    (party,) = result.parties
    assert (party.output_files, party.output_files_bytes) == (3, 2 + len(much))
    (note,) = result.notes
    assert note == (
        "party 0 (local-0): left out of its output: folder-link (a link), link (a link), "
        r"pipe (a pipe), socket (a socket), two\nlines (a name that cannot be printed)"
    )
    assert bench.leftovers() == []


def test_a_full_output_folder_is_an_error_of_the_program_alone(bench: Bench) -> None:
    program = """
    import os
    os.chdir(os.environ["E3_OUTPUT"])
    for number in range(1_000_000):
        try:
            open(f"{number:07}", "w")
        except OSError as error:
            print(number, error.strerror)
            break
    os.unlink("0000000")
    with open("all", "wb") as file:
        try:
            file.write(bytes(2_000_000))
            file.flush()
        except OSError as error:
            print(error.strerror)
    """
    limits = Limits(output_files=20, output_files_mb=1)
    result = bench.run(program, parties=1, rules=Rules(limits=limits))
    assert result.verdict is Verdict.COMPLETED, result.reason
    (party,) = result.parties
    assert party.output == "20 No space left on device\nNo space left on device\n"
    assert party.output_files == 20
    assert party.output_files_bytes <= 1_000_000
    assert len(taken(bench.sessions / result.id / "output" / "local-0")) == 20


def test_private_files_stay_on_their_host(bench: Bench) -> None:
    program = """
    import os
    os.makedirs(os.environ["E3_OUTPUT"] + "/a")
    open(os.environ["E3_OUTPUT"] + "/a/share", "w").write("secret share")
    """
    result = bench.run(program, parties=1, rules=Rules(outputs="private"))
    assert result.verdict is Verdict.COMPLETED, result.reason
    kept = bench.folder / "hosts/local-0/var/lib/e3/outputs" / result.id
    assert taken(kept) == {"a/share": b"secret share"}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (kept.parent, kept, *kept.rglob("*"))}
    assert modes == {0o700, 0o600}
    (party,) = result.parties
    assert (party.output_files, party.output_files_bytes) == (1, 12)
    for path in (bench.sessions / result.id).rglob("*"):
        assert path.is_dir() or b"share" not in path.read_bytes(), path


def test_a_host_that_cannot_keep_private_files_is_named(bench: Bench) -> None:
    bench.put("local-0", "/var/lib/e3/outputs", "no folder")
    program = """
    import os
    open(os.environ["E3_OUTPUT"] + "/share", "w").write("1")
    """
    result = bench.run(program, parties=1, rules=Rules(outputs="private"))
    assert result.verdict is Verdict.COMPLETED, result.reason
    (note,) = result.notes
    assert note.endswith("left out of its output: share (its host cannot keep it (File exists))")
    assert result.parties[0].output_files == 0


def test_a_party_that_is_stopped_leaves_nothing(bench: Bench) -> None:
    program = """
    import os, time
    open(os.environ["E3_OUTPUT"] + "/half", "w").write("1")
    time.sleep(60)
    """
    result = bench.run(program, parties=1, deadline_seconds=2)
    assert result.verdict is Verdict.TIMED_OUT, result.reason
    assert not (bench.sessions / result.id / "output").exists()
    assert bench.leftovers() == []


def test_files_where_the_program_runs_are_kept_if_asked(bench: Bench) -> None:
    program = """
    import os
    open("share0.enc", "w").write("1")
    open("other.txt", "w").write("2")
    os.mkdir("sub")
    open("sub/x.enc", "w").write("3")
    os.symlink("/etc/passwd", "link.enc")
    os.symlink("/etc/passwd", "link.txt")
    open("twice.enc", "w").write("4")
    open(os.environ["E3_OUTPUT"] + "/twice.enc", "w").write("5")
    """
    result = bench.run(program, parties=1, rules=Rules(keep=("*.enc", "nothing")))
    folder = bench.sessions / result.id / "output" / "local-0"
    assert taken(folder) == {"share0.enc": b"1", "sub/x.enc": b"3", "twice.enc": b"5"}
    (note,) = result.notes
    assert note.endswith("link.enc (a link), twice.enc (one of that name is in the output folder)")


def test_only_the_newest_private_outputs_are_kept(tmp_path: Path) -> None:
    for number in range(KEEP + 3):
        (tmp_path / f"20260101-{number:06}-abcd").mkdir()
    (tmp_path / ".unfinished-x").mkdir()
    prune(tmp_path, KEEP)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == KEEP
    assert names[0] == "20260101-000003-abcd"


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "/etc/x", "..", "../x", "a/../b", "a//b", "a/", "./a"),
        *("a\n", "a\0b", "\x1b[2J", "\udcff", "x" * 256, "a/" * 500 + "b"),
    ],
)
def test_names_that_nobody_takes(name: str) -> None:
    assert fault_of(name)


@pytest.mark.parametrize("name", ["a", "a b", "-rf", "ä/ü.csv", "...", "x" * 255])
def test_names_that_are_taken(name: str) -> None:
    assert fault_of(name) == ""


def look(folder: Path, most_files: int, most_bytes: int) -> tuple[list[str], LeftOut]:
    top = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    left_out = LeftOut()
    try:
        found = find(top, most_files=most_files, most_bytes=most_bytes, left_out=left_out)
    finally:
        os.close(top)
    return [file.name for file in found], left_out


def test_limits_hold_where_no_file_system_has_them(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}").write_bytes(bytes(number))
    names, left_out = look(tmp_path, 20, 10**9)
    assert names == [f"{number:02}" for number in range(20)]
    assert (left_out.total, len(left_out.files)) == (10, 10)
    names, left_out = look(tmp_path, 100, 10)
    assert names == ["00", "01", "02", "03", "04"]
    assert left_out.files[0] == ("05", "more than 0 MB together")
    assert left_out.total == 25


def test_the_look_at_very_many_names_ends(tmp_path: Path) -> None:
    for number in range(SEEN + 10):
        os.mkfifo(tmp_path / f"{number}")
    _, left_out = look(tmp_path, 10, 10)
    assert left_out.total == SEEN + 1


def test_a_file_that_does_not_arrive_whole_is_not_there(tmp_path: Path) -> None:
    spec = Spec(session="s", pid=0, parties=(("a", 1),), entry="p.py", args=(), output_bytes=100)
    output = PartyOutput(tmp_path / "output" / "h0", spec)
    output.take(events.Filed(at=1, name="a", size=2))
    output.take(events.Piece(at=1, data=b"x"))
    output.take(events.Filed(at=1, name="b", size=1))
    output.take(events.Piece(at=1, data=b"y"))
    output.take(events.Filed(at=1, name="b/c", size=0))
    output.take(events.Filed(at=1, name="c", size=9))
    output.close()
    assert taken(tmp_path) == {"output/h0/b": b"y"}
    assert output.remarks == ["its output is not complete in the evidence: Not a directory"]
    with pytest.raises(EventError, match="more output files than allowed"):
        output.take(events.Filed(at=1, name="d", size=99))
