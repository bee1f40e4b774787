"""The provider of builds, without the engine: what it detects, and what it accepts as output."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e3.errors import BuildError, ConfigurationError
from e3.nix import Flake, choose
from e3.providers.nix_build import NixBuildProvider
from tests import nix


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[nix.Source]:
    for name, value in nix.settings(tmp_path / "nix").items():
        monkeypatch.setenv(name, value)
    yield nix.Source(tmp_path / "flake")
    nix.remove(tmp_path)


def wanted(source: nix.Source, **changes: object) -> dict[str, Any]:
    return {
        "flake": str(source.folder),
        "output": source.output("image"),
        "sources": [],
        "digest": Flake(folder=source.folder).digest(),
        "pattern": "*.img",
        "builder": "",
        "folder": str(source.folder.parent / "kept"),
        **changes,
    }


@nix.NEEDED
def test_what_is_gone_is_noticed_and_what_is_there_is_not_built_again(source: nix.Source) -> None:
    source.write({"image": "mkdir $out; echo > $out/a.img"})
    provider = NixBuildProvider()
    made = provider.create(wanted(source))
    assert made.outs is not None
    assert not provider.diff("x", made.outs, wanted(source)).changes
    assert not provider.diff("x", made.outs, wanted(source, builder="ssh://there")).changes
    assert provider.diff("x", made.outs, wanted(source, output="packages.other")).changes
    moved = provider.diff("x", made.outs, wanted(source, folder="elsewhere"))
    assert moved.replaces == ["folder"]
    assert provider.read(made.id, made.outs).id == made.id

    (Path(made.outs["folder"]) / "result").unlink()
    assert provider.diff("x", made.outs, wanted(source)).changes
    assert provider.read(made.id, made.outs).id is None
    again = provider.update(made.id, made.outs, wanted(source))
    assert again.outs == made.outs

    provider.delete(made.id, made.outs)
    provider.delete(made.id, made.outs)
    assert Path(made.outs["path"]).exists()


@nix.NEEDED
@pytest.mark.parametrize("files", ["", "a.img b.img"])
def test_one_file_is_wanted(source: nix.Source, files: str) -> None:
    source.write({"image": f"mkdir $out; cd $out; for i in {files}; do touch $i; done"})
    with pytest.raises(
        BuildError, match=r"one file '\*\.img' is wanted, and there is (none|a\.img, b)"
    ):
        NixBuildProvider().create(wanted(source))
    assert not list((source.folder.parent / "kept").glob("result*")), "no root without a resource"


def test_an_output_is_chosen_by_name() -> None:
    assert choose("vm", "x86_64-linux") == (".", "packages.x86_64-linux.vm")
    assert choose("../mine#disk", "aarch64-linux") == ("../mine", "packages.aarch64-linux.disk")
    assert choose("../mine#hydra.disk", "x86_64-linux") == ("../mine", "hydra.disk")
    for wrong in ("", "#disk", "mine#"):
        with pytest.raises(ConfigurationError, match="write the name of an output"):
            choose(wrong, "x86_64-linux")
