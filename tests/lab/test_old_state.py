"""A stack whose state was written before overlays planned units is refreshed, updated, destroyed.

tests/states has the state of such stacks, by overlay, under the passphrase of test stacks. Their
hosts are gone, as after a reboot; nothing in them is or was a secret of anybody.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack, project

STATES = Path(__file__).parents[1] / "states"
OPTIONS = {"nebula": {"lighthouses": 1}, "tinc": {"keepalive": 20}, "wireguard": {"keepalive": 20}}
"""Another number for each: it is a float when it has gone through Pulumi's state."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with project(tmp_path_factory.mktemp("old") / "project") as stack:
        yield stack


def restore(stack: Stack, overlay: str) -> Stack:
    """Return a stack that has the old state of that overlay."""
    old = Stack(folder=stack.folder, environment=stack.environment, name=f"old-{overlay}")
    text = (STATES / f"{overlay}.json").read_text().replace("@PROJECT@", str(stack.folder))
    place = stack.folder / ".e3/state/.pulumi/stacks/e3" / f"old-{overlay}.json"
    place.write_text(text)
    (stack.folder / f"Pulumi.old-{overlay}.yaml").write_text(
        (STATES / f"{overlay}.yaml").read_text()
    )
    return old


@pytest.mark.parametrize(
    "overlay",
    [
        "nebula",
        pytest.param("tinc", marks=pytest.mark.long),
        pytest.param("wireguard", marks=pytest.mark.long),
    ],
)
def test_state_of_before_is_refreshed_updated_and_destroyed(stack: Stack, overlay: str) -> None:
    old = restore(stack, overlay)
    assert f"e3:Overlay {overlay}" in old.resources
    refreshed = old.pulumi("refresh", "--yes", "--skip-preview")
    assert refreshed.exit == 0, refreshed.said
    outputs = old.brought_up(
        overlay=overlay,
        program="demos/helloworld.py",
        regions={"ams3": 1, "nyc3": 1},
        overlay_options=OPTIONS[overlay],
    )
    assert outputs["session"]["verdict"] == "completed"
    joined = old.resources[f"e3:Overlay {overlay}"]["outputs"]
    assert joined["options"] == OPTIONS[overlay]
    gone = old.pulumi("destroy", "--yes", "--skip-preview")
    assert gone.exit == 0, gone.said
    assert old.resources == {}
