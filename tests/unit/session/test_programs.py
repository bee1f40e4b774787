"""Programs: what is shipped, what its digest says, and what is refused."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from e3.errors import ProgramError
from e3.session import programs

pytestmark = pytest.mark.unit


def folder(tmp_path: Path, **contents: str) -> Path:
    path = tmp_path / "program"
    path.mkdir(exist_ok=True)
    for name, content in {"main": "print(1)", **contents}.items():
        (path / f"{name}.py").write_text(content)
    return path


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "sum.py"
    path.write_text("print(1)")
    program = programs.load(path, ["-x", "1"])
    assert (program.name, program.entry, program.args) == ("sum", "sum.py", ("-x", "1"))
    (file,) = programs.files(program, "/there")
    assert (file.path, file.content, file.mode) == ("/there/sum.py", b"print(1)", 0o644)


def test_a_folder_and_what_is_left_out(tmp_path: Path) -> None:
    path = folder(tmp_path, helper="x = 1")
    (path / "data").mkdir()
    (path / "data" / "run").write_bytes(b"\0")
    (path / "data" / "run").chmod(0o700)
    for left_out in ("__pycache__", ".git"):
        (path / left_out).mkdir()
        (path / left_out / "x").write_text("x")
    program = programs.load(path)
    shipped = {file.path: file.mode for file in programs.files(program, "p")}
    assert shipped == {"p/data/run": 0o755, "p/helper.py": 0o644, "p/main.py": 0o644}


def test_main_comes_second_to_dunder_main(tmp_path: Path) -> None:
    assert programs.load(folder(tmp_path)).entry == "main.py"
    assert programs.load(folder(tmp_path, __main__="print(2)")).entry == "__main__.py"


def test_the_digest_is_of_names_modes_and_contents_alone(tmp_path: Path) -> None:
    path = folder(tmp_path, a="x = 1")
    first = programs.load(path).digest
    os.utime(path / "a.py", (0, 0))
    (path / "a.py").chmod(0o600)
    assert programs.load(path).digest == first
    (path / "a.py").chmod(0o755)
    by_mode = programs.load(path).digest
    (path / "a.py").rename(path / "b.py")
    by_name = programs.load(path).digest
    (path / "b.py").write_text("x = 2")
    by_content = programs.load(path).digest
    assert len({first, by_mode, by_name, by_content}) == 4


def test_a_program_that_changed_is_not_shipped(tmp_path: Path) -> None:
    path = folder(tmp_path)
    program = programs.load(path)
    (path / "main.py").write_text("print(2)")
    with pytest.raises(ProgramError, match="was changed meanwhile; start the session again"):
        programs.files(program, "p")


def missing(path: Path) -> Path:
    return path / "nothing.py"


def not_python(path: Path) -> Path:
    (path / "main.py").write_text("print(1)\nlet x = 1;\n")
    return path


def binary(path: Path) -> Path:
    (path / "main.py").write_bytes(b"\x7fELF\0\0")
    return path


def no_entry(path: Path) -> Path:
    (path / "main.py").rename(path / "start.py")
    return path


def link_outside(path: Path) -> Path:
    (path / "passwords").symlink_to("/etc/passwd")
    return path


def link_to_folder(path: Path) -> Path:
    (path / "loop").symlink_to(path)
    return path


def dangling_link(path: Path) -> Path:
    (path / "gone").symlink_to(path / "away")
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path / "pipe")
    return path


def listener(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path / "socket"))
    return path


def too_large(path: Path) -> Path:
    with (path / "data").open("wb") as data:
        data.truncate(programs.LIMIT_BYTES + 1)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, r"nothing\.py does not exist; give a Python file or a folder"),
        (not_python, r"is not Python \(main\.py, line 2: invalid syntax\); correct it"),
        (binary, r"is not Python \(main\.py"),
        (no_entry, r"is a folder without an entry point; add a __main__\.py or main\.py"),
        (link_outside, r"passwords is a link that leads outside; copy what it leads to"),
        (link_to_folder, r"loop is a link to a folder that it is in; remove it"),
        (dangling_link, r"gone is a link that leads to nothing, or to itself; remove it"),
        (pipe, r"pipe is not a file; remove it"),
        (listener, r"socket is not a file; remove it"),
        (too_large, r"has 100\.0 MB in 2 files, more than the 100 MB"),
    ],
)
def test_what_cannot_be_run_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    path = make(folder(tmp_path))
    with pytest.raises(ProgramError, match=message) as refusal:
        programs.load(path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("-M3", "leave out the argument '-M3'; the number of parties is e3:parties"),
        ("-I", "leave out the argument '-I'; E3 gives each party its index"),
        ("-Phost:1", "leave out the argument '-Phost:1'; E3 gives each party's address"),
        ("--base-port=1", "leave out the argument '--base-port=1'; E3 chooses the ports"),
        ("--base", r"'--base' \(MPyC's --base-port\); E3 chooses the ports"),
        ("--base=1", r"'--base=1' \(MPyC's --base-port\); E3 chooses the ports"),
        ("--ind", r"'--ind' \(MPyC's --index\); E3 gives each party its index"),
        ("--i=x", r"'--i=x' \(MPyC's --index\)"),
        ("-Ix", "leave out the argument '-Ix'"),
        ("--conf", r"'--conf' \(MPyC's --config\)"),
        ("--ss", r"'--ss' \(MPyC's --ssl\); set e3:tls"),
        ("--no-a", r"'--no-a' \(MPyC's --no-async\); without it parties cannot wait"),
        ("-hM3", r"'-hM3' \(MPyC's -M\); the number of parties is e3:parties"),
        ("-VI1", r"'-VI1' \(MPyC's -I\)"),
        ("--b", r"'--b' is short for several options of MPyC \(--base-port, --bit-length\)"),
        ("--no=secret", r"'--no' is short for several options of MPyC \(--no-log, "),
    ],
)
def test_options_that_only_e3_can_give(tmp_path: Path, arg: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        programs.load(folder(tmp_path), ["--input", "1", arg])


def test_other_options_and_all_after_two_dashes_pass(tmp_path: Path) -> None:
    args = ["-T", "1", "--no-prss", "-i3", "--Party", "--", "-M3"]
    assert programs.load(folder(tmp_path), args).args == tuple(args)
