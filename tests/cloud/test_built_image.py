"""An image that the stack builds itself: from a flake to a custom image, by the real Nix."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests import nix
from tests.cloud.cloud import KEY, SECRET, TOKEN
from tests.cloud.stage import SMALL_OPTIONS, stage

pytestmark = [
    nix.NEEDED,
    pytest.mark.skipif(os.geteuid() != 0, reason="sshd needs a lab of root's"),
]

IMAGE = "mkdir $out\nenv > $out/environment\nprintf '\\037\\213%s' disk > $out/e3.qcow2.gz"


@pytest.mark.long
def test_an_output_of_a_flake_becomes_the_image(tmp_path: Path) -> None:
    with stage(tmp_path / "stage", bare=True) as made:
        environment = {**made.stack.environment, **nix.settings(tmp_path / "nix")}
        bare = replace(made, stack=replace(made.stack, environment=environment))
        source = nix.Source(bare.stack.folder / "flake")
        options = {**SMALL_OPTIONS, "flake-output": "flake#digitalocean"}

        source.write({"digitalocean": IMAGE})
        bare.brought_up(hosts="none", fleet_options=options)
        (first,) = bare.images()
        assert bare.stack.pulumi("preview", "--expect-no-changes").exit == 0

        source.write({"digitalocean": IMAGE.replace("disk", "other")})
        bare.brought_up(hosts="none", fleet_options=options)
        (second,) = bare.images()
        assert second["id"] != first["id"]

        kept = [path for path in (tmp_path / "nix").rglob("*") if path.is_file()]
        held = [path.read_bytes() for path in kept if not path.is_symlink()]
        assert any(b"NIX_BUILD_TOP=" in content for content in held), "what a builder sees"
        for secret in (TOKEN, KEY, SECRET):
            assert not any(secret.encode() in content for content in held)

        both = bare.up(hosts="none", fleet_options={**options, "image": "ubuntu-24-04-x64"})
        assert both.exit != 0
        assert "flake-output is 'flake#digitalocean' and image is 'ubuntu-24" in both.said
        bare.destroyed()
        assert bare.cloud.inventory() == {}
    nix.remove(tmp_path / "nix")
