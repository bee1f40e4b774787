from pathlib import Path

import pytest

from e3.errors import LabError
from e3.lab.names import HostsFile, check_name

pytestmark = pytest.mark.unit


def hosts(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (folder / "hosts").read_text().splitlines():
        if not line.startswith("#"):
            address, name = line.split()[:2]
            found.setdefault(name, []).append(address)
    return found


def test_names_come_go_and_come_back_in_the_same_file(tmp_path: Path) -> None:
    names = HostsFile(tmp_path)
    inode = (tmp_path / "hosts").stat().st_ino
    names.add([("a-0", ("198.18.0.2", "2001:2::2")), ("a-1", ("198.18.0.3",))])
    names.remove(["a-0", "unknown"])
    assert "a-0" not in hosts(tmp_path)
    names.add([("a-0", ("198.18.0.2", "2001:2::2")), ("b-0", ("198.18.4.2",))])
    found = hosts(tmp_path)
    assert found["a-0"] == ["198.18.0.2", "2001:2::2"]
    assert (found["a-1"], found["b-0"]) == (["198.18.0.3"], ["198.18.4.2"])
    assert (tmp_path / "hosts").stat().st_ino == inode
    assert (tmp_path / "hosts").read_text().count("a-0") == 2


def test_a_name_with_another_address_stands_for_that_one_only(tmp_path: Path) -> None:
    names = HostsFile(tmp_path)
    names.add([("a-0", ("198.18.0.2", "2001:2::2"))])
    names.remove(["a-0"])
    names.add([("a-0", ("2001:2::402",))])
    assert hosts(tmp_path)["a-0"] == ["2001:2::402"]


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a b", "../x", "x" * 64, "a\n"])
def test_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(LabError, match="63 lower-case letters"):
        check_name("host", name)


def test_the_longest_name_is_good() -> None:
    check_name("host", "x" * 63)
