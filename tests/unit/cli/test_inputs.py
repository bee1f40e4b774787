"""What `e3 input put` takes from this machine."""

import os
from pathlib import Path

import pytest

from e3.cli.inputs import host_of, local_files
from e3.deployed import Stack
from e3.errors import E3Error
from e3.experiment import Choice
from e3.interfaces import Network
from tests.hosts import host

pytestmark = pytest.mark.unit


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in ("a.csv", "b.csv", "more/a.csv", "more/deep/c.csv", ".hidden", "empty/.x"):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("123")
    return tmp_path


def put(here: Path, *names: str, name: str | None = None) -> list[tuple[str, int]]:
    return [(each.name, each.size) for each in local_files([here / n for n in names], name)]


def test_files_and_folders(here: Path) -> None:
    assert put(here, "a.csv", "b.csv") == [("a.csv", 3), ("b.csv", 3)]
    assert put(here, "more") == [("more/a.csv", 3), ("more/deep/c.csv", 3)]
    assert put(here, "a.csv", name="stdin") == [("stdin", 3)]
    assert put(here, "a.csv", name="sub/x") == [("sub/x", 3)]


@pytest.mark.parametrize(
    ("names", "name", "wrong"),
    [
        (["none.csv"], None, "none.csv is not a file; give files or folders"),
        (["empty"], None, "empty has no files"),
        ([".hidden"], None, "has a name that begins with a dot; give it another one with --as"),
        (["a.csv"], "../x", "has no path below the folder; give it another one"),
        (["a.csv"], "a\nb", r"a\\nb has a name that cannot be printed"),
        (["a.csv", "b.csv"], "x", "--as: 2 files cannot all be named 'x'; give one file"),
        (["a.csv", "more/../a.csv"], None, "two files would be the input a.csv"),
    ],
)
def test_what_is_refused(here: Path, names: list[str], name: str | None, wrong: str) -> None:
    with pytest.raises(E3Error, match=wrong):
        put(here, *names, name=name)


def test_a_pipe_and_a_link_out_are_no_inputs(here: Path) -> None:
    os.mkfifo(here / "pipe")
    with pytest.raises(E3Error, match="pipe is not a file"):
        put(here, "pipe")
    (here / "more/out").symlink_to("/etc/passwd")
    with pytest.raises(E3Error, match="out is a link that leads outside"):
        put(here, "more")


def test_an_unknown_host_is_named() -> None:
    stack = Stack(
        name="trial",
        hosts=(host("ams3-0", "198.18.0.2"),),
        choice=Choice(name="plain"),
        network=Network(addresses={}),
        paths=(),
        certifies=False,
        setup_seconds=None,
        settled_seconds=None,
    )
    with pytest.raises(E3Error, match="stack trial has no host 'x'; choose one of ams3-0"):
        host_of(stack, "x")
