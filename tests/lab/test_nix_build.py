"""A flake's output as a resource, by the real engine and the Nix of this machine."""

import hashlib
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import nix
from tests.stack import Stack, processes_below, project, until

pytestmark = nix.NEEDED

PROGRAM = f"""\
import pulumi

from e3.providers.nix_build import NixBuild

build = NixBuild.image(
    "image",
    choice="flake#image",
    system="{nix.SYSTEM}",
    pattern="*.img",
    folder=".e3/trial/nix/image",
)
for name in ("path", "file", "sha256", "nar_hash", "closure_bytes"):
    pulumi.export(name, getattr(build, name))
pulumi.export("version", build.version)
"""

IMAGE = "echo making an image\nmkdir $out\nprintf disk > $out/e3.img"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, nix.Source]]:
    folder = tmp_path_factory.mktemp("nix-build")
    with project(folder / "project") as stack:
        (stack.folder / "__main__.py").write_text(PROGRAM)
        environment = {**stack.environment, **nix.settings(folder / "nix")}
        yield replace(stack, environment=environment, base={}), nix.Source(stack.folder / "flake")
    nix.remove(folder)


@pytest.mark.long
def test_a_stack_builds_rebuilds_fails_is_interrupted_and_lets_go(
    built: tuple[Stack, nix.Source],
) -> None:
    stack, source = built
    source.write({"image": IMAGE})
    first = stack.brought_up()
    assert Path(first["file"]).read_text() == "disk"
    assert Path(first["file"]).parent == Path(first["path"])
    assert first["sha256"] == hashlib.sha256(b"disk").hexdigest()
    assert first["closure_bytes"] > 0
    said = stack.log.read_text()
    assert "nix: building '" in said, "progress"
    link = stack.folder / ".e3/trial/nix/image/result"
    assert str(link.readlink()) == first["path"]
    assert stack.pulumi("preview", "--expect-no-changes").exit == 0

    source.write({"image": IMAGE.replace("disk", "other")})
    second = stack.brought_up()
    assert second["version"] != first["version"]
    assert second["sha256"] != first["sha256"]
    assert str(link.readlink()) == second["path"]

    source.write({"image": "echo the disk is of cheese\nexit 1"})
    failed = stack.up()
    assert failed.exit
    assert "the disk is of cheese" in failed.said
    assert "to see all of it, type:  nix " in failed.said
    assert "Traceback" not in failed.said
    assert str(link.readlink()) == second["path"], "the one before stays"

    mark = stack.folder.parent / "started"
    source.write({"image": f"touch {mark}\nsleep 600 & sleep 600"})
    process = stack.begin("up --yes --skip-preview")
    until(mark.exists, stack.log.read_text)
    process.send_signal(signal.SIGINT)
    assert stack.end(process).exit
    until(lambda: not processes_below(stack.folder.parent), lambda: str(left(stack)))

    assert stack.pulumi("destroy", "--yes", "--skip-preview").exit == 0
    assert not link.is_symlink()
    assert Path(second["path"]).exists(), "what is in the store is Nix's to remove"
    assert stack.resources.keys() <= {"pulumi:pulumi:Stack e3-trial"}


def left(stack: Stack) -> list[str]:
    return processes_below(stack.folder.parent)
