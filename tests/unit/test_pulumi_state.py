"""Pulumi's state is read as typed values, or a sentence says which file cannot be read."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from e3 import leftovers, pulumi_state
from e3.errors import E3Error

pytestmark = pytest.mark.unit

OVERLAY = "pulumi-python:dynamic/e3:Overlay"
URN = f"urn:pulumi:trial::e3::{OVERLAY}::nebula"


@pytest.fixture
def stacks(tmp_path: Path) -> Path:
    folder = tmp_path / pulumi_state.STACKS
    folder.mkdir(parents=True)
    return folder


def whole(*resources: Mapping[str, object]) -> str:
    return json.dumps({"version": 3, "checkpoint": {"latest": {"resources": resources}}})


def test_outputs_are_those_of_the_resource_that_stays(stacks: Path, tmp_path: Path) -> None:
    old = {"urn": URN, "type": OVERLAY, "delete": True, "outputs": {"kind": "tinc"}}
    new = {"urn": URN, "type": OVERLAY, "id": "a", "outputs": {"kind": "nebula"}}
    path = stacks / "trial.json.gz"
    path.write_bytes(gzip.compress(whole(old, new).encode()))
    assert pulumi_state.checkpoints(tmp_path) == [path]
    assert pulumi_state.checkpoint(tmp_path, "trial") == path
    assert pulumi_state.stack_of(path) == "trial"
    resources = pulumi_state.read(path)
    assert [resource.stack for resource in resources] == ["trial", "trial"]
    assert pulumi_state.outputs(resources, "Overlay") == {"kind": "nebula"}
    assert pulumi_state.outputs(resources, "Session") is None


def test_what_was_removed_and_not_replaced_yet_has_no_outputs(stacks: Path) -> None:
    gone = {"urn": URN, "type": OVERLAY, "pendingReplacement": True, "outputs": {"kind": "tinc"}}
    path = stacks / "trial.json"
    path.write_text(whole(gone))
    assert pulumi_state.outputs(pulumi_state.read(path), "Overlay") is None


def test_what_was_never_made_has_nothing(stacks: Path, tmp_path: Path) -> None:
    assert pulumi_state.checkpoint(tmp_path, "trial") is None
    assert pulumi_state.read(stacks / "trial.json") == []
    assert pulumi_state.decode_export('{"version": 3, "deployment": {"manifest": {}}}') == []
    assert pulumi_state.decode_export('{"version": 3, "deployment": null}') == []


@pytest.mark.parametrize("content", ["", "{", "null", whole({"urn": URN}), whole({"type": "x"})])
def test_a_file_that_is_not_whole_is_named(stacks: Path, tmp_path: Path, content: str) -> None:
    path = stacks / "trial.json"
    path.write_text(content)
    with pytest.raises(pulumi_state.UnreadableError, match=r"trial\.json is .*doctor --fix") as it:
        pulumi_state.read(path)
    assert "doctor" not in it.value.why
    (tmp_path / "trial").mkdir()
    (left,) = leftovers.find(tmp_path / "trial")
    assert left == f"state {it.value}"


def test_an_export_that_is_not_whole_is_an_error_with_a_remedy() -> None:
    with pytest.raises(E3Error, match="`e3 doctor` tells which file"):
        pulumi_state.decode_export('{"deployment": 1}')
