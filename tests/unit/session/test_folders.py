"""Folders of programs: a host finds exactly what is shipped, whatever the folder has."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e3.errors import ProgramError
from e3.interfaces import File
from e3.party import tree
from e3.remote import files as remote
from e3.session import programs
from e3.session.verdicts import Verdict
from tests.sessions import Bench

pytestmark = pytest.mark.unit

LATIN = os.fsdecode(b"caf\xe9.csv")
DEEP = 1_250


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "program"
    path.mkdir()
    (path / "main.py").write_text("print(1)")
    yield path
    subprocess.run(["rm", "-rf", path], check=True)  # pytest gives up at such a depth


def arrived(program: Path, there: Path) -> str:
    """Ship a program as to a host, and return the digest that its party states."""
    loaded = programs.load(program)
    for file in programs.files(loaded, "program"):
        remote._write(request(there, file), file.content, None)  # noqa: SLF001 -- what a host runs
    tree.make_folders(str(there))
    found = tree.found(f"{there}/program")
    assert found == loaded.digest
    return found


def request(there: Path, file: File) -> dict[str, object]:
    return {"path": f"{there}/{file.path}", "mode": file.mode}


def names(program: Path) -> set[str]:
    return {file.path for file in programs.files(programs.load(program), "p")}


def test_empty_folders_are_kept(folder: Path, tmp_path: Path) -> None:
    (folder / "out" / "deep" / "er").mkdir(parents=True)
    (folder / "cached" / "__pycache__").mkdir(parents=True)
    full = programs.load(folder).digest
    arrived(folder, tmp_path / "there")
    assert (tmp_path / "there/program/out/deep/er").is_dir()
    assert (tmp_path / "there/program/cached").is_dir()
    assert not (tmp_path / "there/program/cached/__pycache__").exists()
    (folder / "out" / "deep" / "er").rmdir()
    assert programs.load(folder).digest != full


def test_a_name_may_be_any_bytes(folder: Path, tmp_path: Path) -> None:
    odd = [LATIN, "naïve 😀.csv", "a\nb", " ", "-x", "[red]", "{x}", "%s", "é" * 127, "x" * 255]
    for name in odd:
        (folder / name).write_text(name, errors="surrogateescape")
    (folder / os.fsdecode(b"\xff\xfe")).mkdir()
    arrived(folder, tmp_path / "there")
    for name in odd:
        there = tmp_path / "there/program" / name
        assert there.read_bytes() == os.fsencode(name)


def test_a_folder_with_such_names_runs(folder: Path, tmp_path: Path) -> None:
    (folder / LATIN).write_text("x")
    (folder / "out").mkdir()
    (folder / "main.py").write_text(
        "import os\nprint(sorted(os.listdir(b'.')), open(os.fsdecode(b'caf\\xe9.csv')).read())"
    )
    result = Bench(tmp_path).run(folder)
    assert result.verdict is Verdict.COMPLETED, result.reason
    said = {party.output for party in result.parties}
    assert said == {"[b'caf\\xe9.csv', b'main.py', b'out'] x\n"}


def test_folders_within_one_another_are_walked_however_many(folder: Path, tmp_path: Path) -> None:
    tree.make_folder(os.fsencode(folder), b"/".join([b"d"] * DEEP))
    place = "/".join(["d"] * DEEP)
    (folder / place / "x").write_text("deep")
    arrived(folder, tmp_path / "there")
    assert (tmp_path / "there/program" / place / "x").read_text() == "deep"
    subprocess.run(["rm", "-rf", tmp_path / "there"], check=True)


def test_a_path_that_no_host_takes_is_refused(folder: Path) -> None:
    tree.make_folder(os.fsencode(folder), b"/".join([b"d" * 200] * 16))
    with pytest.raises(ProgramError, match="has more than 3000 bytes; nest less"):
        programs.load(folder)


def test_virtual_environments_and_git_are_left_out(folder: Path, tmp_path: Path) -> None:
    venv = [sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")]
    subprocess.run(venv, check=True)
    (folder / "env").symlink_to(folder / ".venv")
    (folder / "lib").mkdir()
    (folder / "lib" / ".git").write_text("gitdir: elsewhere")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    (folder / "x.pyc").write_text("")
    assert names(folder) == {"p/main.py", "p.folders"}
    arrived(folder, tmp_path / "there")


def test_a_link_is_what_it_leads_to(folder: Path, tmp_path: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "x").write_text("1")
    (folder / "data" / "empty").mkdir()
    (folder / "y").symlink_to("data/x")
    (folder / "more").symlink_to(folder / "data")
    (folder / "again").symlink_to("more")
    arrived(folder, tmp_path / "there")
    there = tmp_path / "there/program"
    for name in ("data/x", "y", "more/x", "again/x"):
        assert (there / name).read_text() == "1"
        assert not (there / name).is_symlink()
    assert (there / "again/empty").is_dir()


def to_itself(folder: Path) -> None:
    (folder / "a").symlink_to("a")


def to_each_other(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")


def to_nothing(folder: Path) -> None:
    (folder / "a").symlink_to("gone")


def to_above(folder: Path) -> None:
    (folder / "d").mkdir()
    (folder / "d" / "a").symlink_to("..")


def to_one_another(folder: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (folder / one).mkdir()
        (folder / one / "link").symlink_to(folder / other)


def outside(folder: Path) -> None:
    (folder / "a").symlink_to("/etc/passwd")


def to_a_folder_outside(folder: Path) -> None:
    (folder / "a").symlink_to("/etc")


def beside(folder: Path) -> None:
    other = folder.with_name("program-2")
    other.mkdir()
    (folder / "a").symlink_to(other)


def no_right(folder: Path) -> None:
    (folder / "a").symlink_to("/proc/1/task/1/cwd/x" * 20)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (to_itself, "a is a link that leads to nothing, or to itself; remove it"),
        (to_each_other, "[ab] is a link that leads to nothing, or to itself; remove it"),
        (to_nothing, "a is a link that leads to nothing, or to itself; remove it"),
        (to_above, "d/a is a link to a folder that it is in; remove it"),
        (to_one_another, "link/link is a link to a folder that it is in; remove it"),
        (outside, "a is a link that leads outside; copy what it leads to"),
        (to_a_folder_outside, "a is a link that leads outside; copy what it leads to"),
        (beside, "a is a link that leads outside; copy what it leads to"),
        (no_right, "a is a link that leads to nothing, or to itself; remove it"),
    ],
)
def test_a_link_that_cannot_be_followed_is_refused(
    folder: Path, make: "object", message: str
) -> None:
    make(folder)  # type: ignore[operator]  # one of the above
    with pytest.raises(ProgramError, match=message) as refusal:
        programs.load(folder)
    assert str(refusal.value).isprintable()


def test_folders_that_link_to_others_twice_come_to_an_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "FAR_TOO_MANY", 4000)
    for level in range(40):
        (folder / str(level)).mkdir()
        if level:
            for name in "ab":
                (folder / str(level) / name).symlink_to(folder / str(level - 1))
    with pytest.raises(ProgramError, match="has more than 4000 files, with links; ship less"):
        programs.load(folder)


def test_what_is_too_large_says_how_large_and_where(folder: Path) -> None:
    (folder / "data").mkdir()
    for number in range(3):
        with (folder / "data" / str(number)).open("wb") as file:
            file.truncate(50_000_000)
    with pytest.raises(ProgramError) as refusal:
        programs.load(folder)
    assert "has 150.0 MB in 4 files, more than the 100 MB or 20000 files" in str(refusal.value)
    assert "the most is in data (150.0 MB in 3 files), main.py" in str(refusal.value)


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, "x\0y", os.fsdecode(b"\xff.py")])
def test_a_path_that_cannot_be_is_an_error_and_no_traceback(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProgramError):
        programs.load(f"{tmp_path}/{name}")


def test_a_file_that_may_not_be_read_is_named(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (folder / "secret").write_text("x")
    (folder / "secret").chmod(0)
    with pytest.raises(ProgramError, match="cannot read secret: Permission denied"):
        programs.load(folder)


part = st.one_of(
    st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name and b"\0" not in name),
    st.sampled_from([b"a", b"b", b"__pycache__", b".git", b"pyvenv.cfg", b"main.py", b"x.pyc"]),
).filter(lambda name: name not in {b".", b".."})
trees = st.recursive(
    st.binary(max_size=8), lambda below: st.dictionaries(part, below, max_size=4), max_leaves=12
)


def plant(place: bytes, content: "bytes | Mapping[bytes, object]") -> None:
    if isinstance(content, bytes):
        Path(os.fsdecode(place)).write_bytes(content)
        return
    Path(os.fsdecode(place)).mkdir(exist_ok=True)
    for name, below in content.items():
        plant(place + b"/" + name, below)  # type: ignore[arg-type]  # as drawn


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(part, trees, max_size=4))
def test_any_folder_arrives_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, content: Mapping[bytes, object]
) -> None:
    place = tmp_path_factory.mktemp("any")
    plant(os.fsencode(place / "program"), {**content, b"main.py": b"print(1)"})
    arrived(place / "program", place / "there")


@given(
    st.lists(st.tuples(st.text(max_size=5), st.sampled_from([0o644, 0o755]), st.binary(max_size=9)))
)
def test_the_digest_does_not_depend_on_the_order(items: list[tree.Item]) -> None:
    assert tree.digest(items) == tree.digest(items[::-1])
