"""How the command reads a stack's state, also one that an older version wrote."""

import hashlib
import json
from pathlib import Path

import pytest

from e3 import deployed, pulumi_state
from e3.cli import project
from e3.cli.place import ROOT
from e3.errors import E3Error

pytestmark = pytest.mark.unit

STATES = Path(__file__).parents[2] / "states"


@pytest.mark.parametrize("overlay", ["nebula", "tinc", "wireguard"])
def test_an_old_state_has_joined_hosts(overlay: str) -> None:
    stack = deployed.joined(pulumi_state.read(STATES / f"{overlay}.json"))
    assert stack is not None
    assert [host.name for host in stack.hosts] == ["ams3-0", "nyc3-0"]
    assert stack.overlay.needs.address_trust


def stacks(folder: Path, *names: str) -> Path:
    """Lay down a backend with stacks of these names."""
    place = folder / ".e3" / pulumi_state.STACKS
    place.mkdir(parents=True)
    for name in names:
        text = (STATES / "nebula.json").read_text().replace("old-nebula", name)
        (place / f"{name}.json").write_text(text)
    return place


def select(folder: Path, content: object) -> None:
    path = folder / project.SELECTED
    path.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha1(str(ROOT / "Pulumi.yaml").encode()).hexdigest()  # noqa: S324 -- Pulumi's
    (path / f"e3-{key}-workspace.json").write_text(json.dumps(content))


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a pulumi command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_state_is_read_without_pulumi(alone: Path) -> None:
    stacks(alone, "one", "two")
    assert project.up("one").name == "one"
    select(alone, {"stacks": {"file://./.e3/state": "organization/e3/two"}})
    assert project.up(None).name == "two"


@pytest.mark.parametrize("content", [{}, {"stacks": 3}, {"stacks": {"a": "x/y/one", "b": "two"}}])
def test_pulumi_is_asked_where_the_selection_is_unclear(alone: Path, content: object) -> None:
    stacks(alone, "one", "two")
    select(alone, content)
    with pytest.raises(E3Error, match="pulumi is not on PATH"):
        project.up(None)


@pytest.mark.parametrize("name", ["three", "organization/e3/one", "../one", "a b"])
def test_pulumi_is_asked_for_a_stack_without_a_file(alone: Path, name: str) -> None:
    stacks(alone, "one")
    with pytest.raises(E3Error, match="pulumi is not on PATH"):
        project.up(name)


def test_a_state_that_is_cut_off_is_named(alone: Path) -> None:
    place = stacks(alone, "one")
    (place / "one.json").write_bytes(b"{")
    with pytest.raises(E3Error, match=r"one\.json is not whole.*`e3 doctor --fix`"):
        project.up("one")
