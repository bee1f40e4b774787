"""A stack at the stand-in cloud: real program, real engine; what state and cloud must share."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.cloud.cloud import Cloud, running
from tests.stack import Ended, Stack, project

ANSWER_SECONDS = 40
"""For hosts that boot within a second; a busy machine takes longer."""

SMALL_OPTIONS: Mapping[str, object] = {"size": "s-1vcpu-1gb", "answer-seconds": ANSWER_SECONDS}
SMALL: Mapping[str, object] = {
    "e3:fleet": "digitalocean",
    "e3:regions": {"ams3": 2, "sgp1": 1},
    "e3:fleet-options": SMALL_OPTIONS,
}

BARE = """\
import pulumi

from e3 import config
from e3.errors import E3Error
from e3.fleets import FLEETS
from e3.registry import build

try:
    experiment = config.read()
    fleet = build(FLEETS, experiment.fleet, key="fleet")
    fleet.check(experiment)
    made = fleet.hosts(experiment, (), pulumi.ResourceOptions())
except E3Error as error:
    raise pulumi.RunError(str(error)) from error
pulumi.export("hosts", [pulumi.Output.from_input(host) for host in made.hosts])
"""
"""A program of the fleet alone, where what comes after it would only take time."""

DESTROY = "destroy --yes --skip-preview"


@dataclass(frozen=True)
class Stage:
    """A stack and the cloud at which it is."""

    stack: Stack
    cloud: Cloud

    def up(self, *options: str, **values: object) -> Ended:
        """Run `pulumi up` with these values of the configuration."""
        return self.stack.up(*options, **values)

    def image(self, name: str = "image.qcow2.gz", content: bytes = b"") -> dict[str, object]:
        """Write a file that counts as an image; return the options of the fleet with it."""
        (self.stack.folder / name).write_bytes(b"\x1f\x8b" + content)
        return {**SMALL_OPTIONS, "image": name}

    def droplets(self) -> dict[str, int]:
        """Return the id of each droplet at the cloud by its host's name."""
        rows = self.cloud.digitalocean.account.droplets
        return {row["name"].removeprefix("e3-")[:-9]: id_ for id_, row in rows.items()}

    def images(self) -> list[dict[str, Any]]:
        """Return the images at the cloud; it remembers those that failed, for no use."""
        rows = self.cloud.digitalocean.account.images.values()
        return [row for row in rows if row["status"] != "deleted"]

    def e3(self, *words: str) -> Ended:
        """Run the command `e3` at the cloud's desk."""
        done = subprocess.run(
            [*self.cloud.prefix, self.stack.folder / "scripts" / "bin" / "e3", *words],
            cwd=self.stack.folder,
            env=dict(self.stack.environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        return Ended(exit=done.returncode, said=done.stdout + done.stderr)

    def brought_up(self, *options: str, **values: object) -> dict[str, Any]:
        """Run `pulumi up`, which must succeed and leave the same at cloud and state."""
        outputs = self.stack.brought_up(*options, **values)
        self.agree()
        return outputs

    def pulumi(self, verb: str, *options: str) -> str:
        """Run a verb of Pulumi, which must succeed, and return what it said."""
        ended = self.stack.pulumi(verb, *options)
        assert ended.exit == 0, ended.said
        return ended.said

    def agree(self) -> None:
        """Fail unless the cloud has exactly what the state has."""
        there, known = self.cloud.inventory(), self.known()
        assert there == known, f"cloud: {there}\nstate: {known}"

    def known(self) -> dict[str, frozenset[str]]:
        """Return the ids in the state, by type as `Cloud.inventory` has it."""
        found: dict[str, set[str]] = {}
        for resource in self.stack.resources.values():
            kind = resource["type"]
            if resource.get("custom") and not kind.startswith("pulumi"):
                found.setdefault(kind, set()).add(resource["id"])
        return {kind: frozenset(ids) for kind, ids in found.items()}

    def destroyed(self, *options: str) -> None:
        """Run `pulumi destroy`, which must succeed and leave nothing."""
        self.pulumi(DESTROY, *options)
        assert self.stack.resources == {}
        assert self.cloud.inventory() == {}
        assert not self.cloud.digitalocean.account.tags


@contextmanager
def stage(
    folder: Path, *, bare: bool = False, base: Mapping[str, object] = SMALL
) -> Iterator[Stage]:
    """Run a cloud, and have a stack there that is not up yet."""
    cloud_folder = folder / "cloud"
    cloud_folder.mkdir(parents=True)
    with running(cloud_folder) as cloud, project(folder / "project") as stack:
        if bare:
            (stack.folder / "__main__.py").write_text(BARE)
        yield Stage(
            replace(
                stack,
                prefix=cloud.prefix,
                environment=cloud.environment(stack.environment),
                base=base,
            ),
            cloud,
        )
