"""Ignore files: what Git does not keep does not travel, unless .e3ignore says so."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e3.errors import ProgramError
from e3.session import ignored, programs

pytestmark = pytest.mark.unit


def plant(folder: Path, **contents: str) -> Path:
    """Make a program with these files; a name has ``__`` for each slash."""
    for name, content in {"main.py": "print(1)", **contents}.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def shipped(folder: Path) -> set[str]:
    program = programs.load(folder)
    return {file.path.removeprefix("p/") for file in programs.files(program, "p")}


def test_what_git_ignores_does_not_travel(tmp_path: Path) -> None:
    files = {
        ".gitignore": "*.log\n/build/\n# data\n\n!keep.log\ndraft*\n",
        "a.log": "",
        "keep.log": "",
        "build__x": "",
        "sub__build__x": "",
        "sub__draft.txt": "",
        "sub__.gitignore": "*.csv\n!/votes.csv\n",
        "sub__votes.csv": "",
        "sub__more.csv": "",
        "top.csv": "",
    }
    assert shipped(plant(tmp_path, **files)) == {
        *("main.py", ".gitignore", "keep.log", "sub/build/x", "sub/.gitignore", "sub/votes.csv"),
        "top.csv",
    }


def test_our_own_ignore_file_has_the_last_word(tmp_path: Path) -> None:
    files = {
        ".gitignore": "data/\nsecret\n",
        ".e3ignore": "!data/\nnotes.md\n",
        "data__votes.csv": "",
        "data__.e3ignore": "*.tmp\n",
        "data__x.tmp": "",
        "notes.md": "",
        "secret": "",
    }
    names = {"main.py", ".gitignore", ".e3ignore", "data/votes.csv", "data/.e3ignore"}
    assert shipped(plant(tmp_path, **files)) == names


def test_the_work_trees_own_files_count(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.log\n/demos/vote/local.txt\n")
    (tmp_path / "demos").mkdir()
    (tmp_path / "demos" / ".gitignore").write_text("!keep.log\n")
    files = {"a.log": "", "keep.log": "", "local.txt": "", "deep__local.txt": ""}
    folder = plant(tmp_path / "demos" / "vote", **files)
    assert shipped(folder) == {"main.py", "keep.log", "deep/local.txt"}


@pytest.mark.parametrize("pattern", ["scratch/", "/*", "*"])
def test_a_folder_that_was_asked_for_travels_even_if_git_ignores_it(
    tmp_path: Path, pattern: str
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text(f"{pattern}\n")
    assert shipped(plant(tmp_path / "scratch", x="")) == {"main.py", "x"}


def test_a_file_above_counts_in_a_work_tree_alone(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("x\n")
    assert shipped(plant(tmp_path / "vote", x="")) == {"main.py", "x"}


def test_an_ignored_entry_says_what_to_write(tmp_path: Path) -> None:
    plant(tmp_path, **{".gitignore": "*.py\n"})
    with pytest.raises(ProgramError, match=r"write `!main.py` into a file \.e3ignore beside it"):
        programs.load(tmp_path)
    (tmp_path / ".e3ignore").write_text("!main.py\n")
    assert "main.py" in shipped(tmp_path)


def test_odd_ignore_files_do_no_harm(tmp_path: Path) -> None:
    odd = b"\xef\xbb\xbfa\r\ncaf\xe9\n!\n\\\n[z-a]\n//\n***\\\x00\n# \xff\n"
    plant(tmp_path, a="", b="")
    (tmp_path / ".gitignore").write_bytes(odd)
    (tmp_path / os.fsdecode(b"caf\xe9")).write_text("")
    os.mkfifo(tmp_path / ".e3ignore")
    with pytest.raises(ProgramError, match=r"\.e3ignore is not a file; remove it"):
        programs.load(tmp_path)
    (tmp_path / ".e3ignore").unlink()
    (tmp_path / ".e3ignore").mkdir()
    assert shipped(tmp_path) == {"main.py", "b", ".gitignore", "../p.folders"} - {
        "../p.folders"
    } | {"p.folders"}


def test_an_ignore_file_has_its_limit(tmp_path: Path) -> None:
    plant(tmp_path, **{".gitignore": "x\n" * ignored.MOST_BYTES})
    with pytest.raises(ProgramError, match=r"\.gitignore has more than 1 MB; shorten it"):
        programs.load(tmp_path)


word = st.sampled_from(["a", "b", "ab", "main.py"])
pattern = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "!"]),
    st.sampled_from(["", "/", "**/", "b/"]),
    st.sampled_from(["a", "b", "a*", "*b", "?", "[ab]", "*"]),
    st.sampled_from(["", "/", "/**", "/*"]),
)
patterns = st.lists(pattern, max_size=4).map("\n".join)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from(["", "a/", "a/b/", "b/"]), patterns, max_size=3))
def test_git_itself_lists_the_same(
    tmp_path_factory: pytest.TempPathFactory, ignores: Mapping[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("git")
    for place in ("", "a/", "a/b/", "b/", "b/a/"):
        (folder / place).mkdir(exist_ok=True)
        for name in ("x", "ab", "c"):
            (folder / place / name).write_text("")
    for place, text in ignores.items():
        (folder / place / ".gitignore").write_text(text)
    git = ["git", "-c", "core.excludesFile=/dev/null", "-C", str(folder)]
    subprocess.run([*git, "init", "-q"], check=True)
    listing = [*git, "ls-files", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, check=True, capture_output=True, text=True)
    found = {each.name for each in programs.chosen(folder) if not each.mode & 0o040000}
    assert found == set(listed.stdout.splitlines())
