"""What a program asks for, as people write it down, and what others may have written there."""

import json
import os
from pathlib import Path

import pytest

from e3.errors import ProgramError
from e3.experiment import Program
from e3.session.declarations import ROOT, declaration
from e3.session.requirements import Requirements, declared

SHA = "a" * 64
OTHER = "b" * 64


def read(path: Path, entry: str = "") -> Requirements | None:
    """Return what the program at ``path`` asks for."""
    asked = declaration(Program(path=path, entry=entry or path.name, digest=""))
    return None if asked is None else declared(asked)


def asked(folder: Path, text: str | bytes, name: str = "requirements.txt") -> Requirements:
    """Return what a file beside a program asks for."""
    (folder / "vote.py").write_text("")
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(data)
    found = read(folder / "vote.py")
    assert found is not None
    return found


def test_a_list_is_read_as_pip_reads_it(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("scipy\n-r ../requirements.txt\n")
    (tmp_path / "limits.txt").write_text("numpy<3\n")
    (tmp_path / "wheels").mkdir()
    found = asked(
        tmp_path,
        "\ufeff# what the vote needs\r\n"
        "pandas [performance] >= 2, <4  # for tables\r\n"
        f"six==1.17.0 \\\r\n    --hash=sha256:{SHA} \\\r\n    --hash sha256:{OTHER}\r\n"
        "tomli; python_version < '3.11'\n"
        "\n--pre\n--only-binary=:all:\n-c limits.txt\n-rmore/base.txt\n--find-links=wheels\n"
        "--no-index",
    )
    assert found.wanted == (
        "pandas[performance]<4,>=2",
        "six==1.17.0",
        'tomli; python_version < "3.11"',
        "scipy",
    )
    assert found.constraints == ("numpy<3",)
    assert found.hashes == {"six": (SHA, OTHER)}
    assert [folder.name for folder in found.folders] == ["wheels"]
    assert found.pre
    assert not found.index
    assert found.source.endswith("requirements.txt")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-e .", "installs from a folder of this machine, and hosts do not have it"),
        ("--editable=../src", "installs from a folder of this machine"),
        ("--index-url https://e.example/simple", "pip config set global.index-url"),
        ("--extra-index-url=https://e.example", "this machine says where packages come from"),
        ("--trusted-host e.example", "this machine says"),
        ("--no-binary :all:", "runs what a package brings to build it"),
        ("--config-settings x=y", "E3 does not know this option"),
        ("-r ../others.txt", "leads out of the program's folder"),
        ("-r https://e.example/list.txt", "leads out of the program's folder"),
        ("-f /tmp", "leads out of the program's folder"),
        ("-f wheels", "there is no such folder"),
        ("-c absent.txt", "absent.txt cannot be read: No such file"),
        ("./package", "E3 installs packages by name"),
        ("wheels/x-1.0-py3-none-any.whl", "E3 installs packages by name"),
        ("x @ git+https://e.example/x", "is fetched from an address of its own"),
        ("git+https://e.example/x#egg=x", "E3 installs packages by name"),
        ("pandas --hash=md5:00", "is not a SHA-256"),
        ("pandas --install-option=--x", "E3 knows no option but --hash here"),
        ("pandas=2", "write a package and a version, such as"),
        ("\x1b[31m${HOME}", r"\\x1b\[31m\$\{HOME\}"),
    ],
)
def test_what_reaches_elsewhere_is_refused_with_a_word(
    tmp_path: Path, line: str, said: str
) -> None:
    with pytest.raises(ProgramError, match=said) as refused:
        asked(tmp_path, f"scipy\n{line}\n")
    assert "requirements.txt line 2: " in str(refused.value) or "absent" in line
    assert str(refused.value).isprintable()


def test_a_file_that_is_none_or_too_large_is_not_read(tmp_path: Path) -> None:
    program, path = tmp_path / "vote.py", tmp_path / "requirements.txt"
    program.write_text("")
    with path.open("wb") as file:
        file.truncate(2_000_000_000)
    with pytest.raises(ProgramError, match=r"has 2,000 MB, and a list of packages at most 2"):
        read(program)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ProgramError, match="is not a file; remove it"):
        read(program)
    path.unlink()
    path.mkdir()
    with pytest.raises(ProgramError, match="is not a file; remove it"):
        read(program)
    path.rmdir()
    path.symlink_to("/etc/passwd")
    with pytest.raises(ProgramError, match="is a link that leads outside"):
        read(program)
    path.unlink()
    with pytest.raises(ProgramError, match="is not UTF-8"):
        asked(tmp_path, b"caf\xe9")
    with pytest.raises(ProgramError, match="asks for 1001 packages"):
        asked(tmp_path, "\n".join(f"p{number}" for number in range(1001)))


SCRIPT = """\
#!/usr/bin/env python
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "pandas<4",  # tables
#
#   "rich",
# ]
# [tool.uv]
# index-url = "https://e.example"
# ///
import pandas
"""


def test_the_head_of_a_program_counts_first(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("scipy\n")
    program = tmp_path / "vote.py"
    for text in (SCRIPT, SCRIPT.replace("\n", "\r\n")):
        program.write_bytes(text.encode())
        found = read(program)
        assert found is not None
        assert found.wanted == ("pandas<4", "rich")
        assert found.python == ">=3.11"
    program.write_text(SCRIPT + SCRIPT)
    with pytest.raises(ProgramError, match="has two blocks"):
        read(program)
    program.write_text(SCRIPT.replace(">=3.11", "new"))
    with pytest.raises(ProgramError, match="requires-python new is no version"):
        read(program)
    program.write_text(SCRIPT.replace("dependencies = [", "dependencies = 5 ["))
    with pytest.raises(ProgramError, match=r"the head of .*vote.py cannot be read: "):
        read(program)


def test_a_notebook_has_its_block_in_a_cell_of_code(tmp_path: Path) -> None:
    program = tmp_path / "vote.ipynb"
    lines = SCRIPT.splitlines(keepends=True)
    cells = [{"cell_type": "markdown", "source": "# Vote"}, {"cell_type": "code", "source": lines}]
    program.write_text(json.dumps({"cells": cells}))
    found = read(program)
    assert found is not None
    assert found.wanted == ("pandas<4", "rich")
    for broken in ("{", '{"cells": 5}', "[]"):
        program.write_text(broken)
        assert read(program) is None


def test_a_project_is_read_as_far_as_it_is_a_standard(tmp_path: Path) -> None:
    name = "pyproject.toml"
    project = '[project]\nname = "x"\nrequires-python = ">=3.11"\n'
    found = asked(tmp_path, f'{project}dependencies = ["pandas"]\n[tool.ruff]\nx = 1', name)
    assert (found.wanted, found.python) == (("pandas",), ">=3.11")
    for text, said in [
        (
            "[tool.poetry.dependencies]\npandas = '2'",
            r"has what the program needs as \[tool.poetry",
        ),
        (
            '[project]\ndynamic = ["dependencies"]',
            r"leaves its dependencies to a build \(dynamic\)",
        ),
        ('[project]\ndependencies = ["-e ."]', "write a package and a version"),
        ('[project]\ndependencies = "pandas"', "cannot be read: Expected `array`"),
        ("[project", "cannot be read: "),
    ]:
        with pytest.raises(ProgramError, match=said):
            asked(tmp_path, text, name)
    (tmp_path / name).write_text("[tool.ruff]\nline-length = 100")
    assert read(tmp_path / "vote.py") is None


def test_the_nearest_list_counts_and_e3s_own_does_not(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "vote.py").write_text("")
    assert read(tmp_path, "inner/vote.py") is None
    (tmp_path / "requirements.txt").write_text("scipy")
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["pandas"]')
    outer = read(tmp_path, "inner/vote.py")
    (tmp_path / "inner" / "pyproject.toml").write_text('[project]\ndependencies = ["rich"]')
    inner = read(tmp_path, "inner/vote.py")
    assert outer is not None
    assert outer.wanted == ("scipy",)
    assert inner is not None
    assert inner.wanted == ("rich",)
    assert (ROOT / "requirements.txt").exists()
    assert read(ROOT / "vote.py") is None


def test_files_that_include_one_another_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("-r requirements.txt\nscipy")
    assert asked(tmp_path, "-r a.txt\npandas").wanted == ("scipy", "pandas")
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"-r {number + 1}.txt")
    with pytest.raises(ProgramError, match="more than 20 files include it"):
        asked(tmp_path, "-r 0.txt")


def test_what_is_asked_for_and_offered_decides_the_digest(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    text = "pandas\n-f wheels"
    first = asked(tmp_path, text).digest
    assert asked(tmp_path, f"# a remark\n{text}").digest == first
    assert asked(tmp_path, text.replace("pandas", "pandas<4")).digest != first
    (tmp_path / "wheels" / "x-1-py3-none-any.whl").write_bytes(b"1")
    second = asked(tmp_path, text).digest
    (tmp_path / "wheels" / "x-1-py3-none-any.whl").write_bytes(b"2")
    assert len({first, second, asked(tmp_path, text).digest}) == 3
