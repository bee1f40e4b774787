"""Lists that people have, as machines: cases as data, each with what is not understood."""

import json
import re
import string
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from e3.errors import ConfigurationError
from e3.inventory import aliases, imports
from e3.inventory.machines import parse
from e3.inventory.report import ImportReport
from tests.commands import private

pytestmark = pytest.mark.unit

CASES_FOLDER = Path(__file__).parents[2] / "cases" / "lists"
CASES: dict[str, Any] = {
    name: case
    for file in sorted(CASES_FOLDER.glob("*.yaml"))
    for name, case in yaml.safe_load(file.read_text()).items()
}
READ = [name for name, case in CASES.items() if "machines" in case]
FAILS = [name for name, case in CASES.items() if "fails" in case]
JUDGED = ("comments and ranges", "groups of groups", "jumps", "expressions")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def write(case: Mapping[str, Any], folder: Path) -> Path:
    """Write the files of a case; return the first."""
    paths: list[Path] = []
    for name, text in case["files"].items():
        path = folder / name.replace("HOME", "home")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.replace("HERE", str(folder)).encode())
        paths.append(path)
    return paths[0]


@pytest.mark.parametrize("name", READ)
def test_a_list_becomes_machines_and_what_is_not_taken_is_named(
    tmp_path: Path, home: Path, name: str
) -> None:
    assert home.is_dir()
    case = CASES[name]
    path = write(case, tmp_path)
    report = imports.read(path, case.get("format"))
    assert imports.guess(path.read_text(), path) == case["kind"]
    found = [machine.to_properties() for machine in report.machines]
    expected = json.loads(json.dumps(case["machines"]).replace("HERE", str(tmp_path)))
    assert found == expected
    notes = case.get("notes", [])
    for note in notes:
        pattern = note.replace("HERE", re.escape(str(tmp_path)))
        assert any(re.search(pattern, said) for said in report.notes), (pattern, report.notes)
    assert bool(report.left_out) == bool(case.get("status"))
    if not notes:
        assert report.notes == []
    for said in report.notes:
        assert said.isprintable()
    assert not list(tmp_path.rglob("PWNED"))
    # what is rendered is read again as the same
    kept = {str(machine): machine for machine in report.machines}
    if len({(m.address or m.host, m.port) for m in report.machines}) == len(kept):
        listed = yaml.safe_load(imports.render(report.machines))
        assert list(parse(listed, "x")) == report.machines


@pytest.mark.parametrize("name", FAILS)
def test_what_is_no_list_is_refused_with_its_line(tmp_path: Path, home: Path, name: str) -> None:
    assert home.is_dir()
    path = write(CASES[name], tmp_path)
    with pytest.raises(ConfigurationError, match=CASES[name]["fails"]):
        imports.read(path)
    assert not list(tmp_path.rglob("PWNED"))


@pytest.mark.parametrize("name", JUDGED)
def test_no_machine_is_made_up_and_none_is_lost(tmp_path: Path, name: str) -> None:
    path = write(CASES[name], tmp_path)
    argv = [sys.executable, "-m", "ansible", "inventory", "-i", str(path), "--list"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True, timeout=600)
    groups = json.loads(done.stdout)
    listed = {host for group in groups.values() for host in group.get("hosts", [])}
    report = imports.read(path)
    taken = {machine.host for machine in report.machines}
    assert taken <= listed
    assert all(any(host in note for note in report.notes) for host in listed - taken)
    assert set(report.left_out) <= listed - taken


def test_the_command_says_what_it_did_not_take(tmp_path: Path) -> None:
    e3 = private(tmp_path / "project")
    (tmp_path / "hosts").write_text("attic.lan pi\n192.0.2.1:2222\n")
    printed = e3("inventory", "import", "hosts", cwd=tmp_path)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert (
        printed.stdout == "hosts:\n- host: attic.lan\n  user: pi\n- host: 192.0.2.1\n  port: 2222\n"
    )
    written = e3("inventory", "import", "hosts", "--output", "hosts.yaml", cwd=tmp_path)
    assert written.stdout.startswith("2 machines are listed in ")
    assert (tmp_path / "hosts.yaml").read_text() == printed.stdout
    again = e3("inventory", "import", "hosts", "--output", "hosts.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists; remove it" in again.stderr
    with (tmp_path / "hosts").open("a") as file:
        file.write("a b c\x1b[1m\n")
    part = e3("inventory", "import", "hosts", "--format", "pssh", cwd=tmp_path)
    assert part.returncode == 1
    assert part.stdout == printed.stdout
    assert "hosts, line 3: a is left out: the form is" in part.stderr
    (tmp_path / "hosts").write_text("a b c\n")
    nothing = e3("inventory", "import", "hosts", cwd=tmp_path)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "is no list of machines that pssh would know" in nothing.stderr


SYNTAX = st.sampled_from([*"\"'\\#;=:@[]{}()$ \t\n\r,*?!-&", "Host ", "Include ", "\ufeff", "---"])
TEXT = st.lists(st.one_of(SYNTAX, st.characters(), st.text(string.ascii_letters)), max_size=30)
KEYS = st.one_of(
    st.sampled_from(
        ["_meta", "hostvars", "all", "hosts", "vars", "children", "deployment", "meta"]
    ),
    st.sampled_from(
        ["targetHost", "tags", "ansible_host", "ansible_ssh_args", "ansible_become", "a"]
    ),
    st.text(max_size=5),
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(KEYS, each, max_size=4),
    max_leaves=20,
)


@given(parts=TEXT)
def test_any_text_is_a_list_of_parallel_ssh_or_is_said_not_to_be(parts: list[str]) -> None:
    text = "".join(parts)
    report = ImportReport("list", text)
    imports.pssh(report, Path("list"))
    for machine in report.machines:
        assert machine.host in text or ":" in machine.host
    words = [line.partition("#")[0].split() for line in text.splitlines()]
    assert len(report.machines) + len(report.left_out) == len([each for each in words if each])


@given(parts=TEXT)
def test_any_text_is_a_configuration_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("any") / "config"
    path.write_text("".join(parts).replace("Include", "Port"), errors="surrogatepass")
    report = ImportReport(str(path), "")
    try:
        aliases.read(report, path)
    except ConfigurationError as error:
        assert str(error)  # noqa: PT017 -- either is right


@given(table=st.dictionaries(KEYS, VALUE, max_size=5))
def test_any_mapping_is_a_list_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]
) -> None:
    for kind in ("ansible-list", "colmena"):
        path = tmp_path_factory.mktemp("any") / "list.json"
        report = ImportReport(str(path), json.dumps(table))
        try:
            imports.KINDS[kind](report, path)
        except ConfigurationError as error:
            assert str(error)  # noqa: PT017 -- either is right
        for note in report.notes:
            assert note.isprintable()
