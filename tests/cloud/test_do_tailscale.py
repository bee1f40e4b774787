"""The stack do-tailscale: droplets at the stand-in cloud, and a tailnet's real control server."""

import os
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cloud.cloud import SECRET, TOKEN
from tests.cloud.stage import Stage, stage
from tests.cloud.tailnet import API_KEY, Tailnet, application
from tests.overlays import ask
from tests.stack import ROOT, Stack

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd needs a lab of root's")

CANARY = "canary-8d1f0c5b7a"
PROGRAM = "from mpyc.runtime import mpc\nmpc.run(mpc.start())\nmpc.run(mpc.shutdown())\n"
"""Unlike demos, it takes any argument."""

PLACES = "--exclude-dir=site-packages /run/e3 /run/keys /var/keys /var/lib/e3 /var/log /root /tmp"

NAMES = {"ams3-0", "ams3-1", "sgp1-0"}


@dataclass(frozen=True)
class Scene:
    """The stage with a tailnet, and the options by which hosts find that."""

    stage: Stage
    tailnet: Tailnet
    options: Mapping[str, object]

    @property
    def stack(self) -> Stack:
        """The stack."""
        return self.stage.stack

    @property
    def values(self) -> dict[str, object]:
        """The configuration, as `Stack.up` takes it."""
        known: dict[str, object] = {"overlay": "tailscale", "overlay_options": self.options}
        program = self.stack.write(PROGRAM)
        return known | {"program": program, "fleet_options": self.stage.image()}

    def up(self, *options: str) -> dict[str, Any]:
        """Bring the stack up; the cloud then has what the state has."""
        outputs = self.stack.brought_up(*options, **self.values)
        assert outputs["session"]["verdict"] == "completed"
        self.agree()
        return outputs

    def agree(self) -> None:
        """Fail unless cloud and tailnet match the state exactly."""
        known = self.stage.known()
        known.pop("command:remote:Command", None)  # of which nothing is anywhere
        assert self.stage.cloud.inventory() == known

    def unplug(self, host: str) -> None:
        """Delete a droplet by hand, as its owner may."""
        droplets = self.stage.cloud.digitalocean.account
        droplets.delete_droplet(self.stage.droplets()[host])

    @property
    def enrolled(self) -> dict[str, str]:
        """The id of each enrolment by its host."""
        mark = "command:remote:Command enrol-"
        found = self.stack.resources.items()
        return {k.removeprefix(mark): r["id"] for k, r in found if k.startswith(mark)}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with stage(tmp_path_factory.mktemp("tailnet")) as made:
        tailnet = Tailnet(made.cloud.room)
        with made.cloud.room.serving(application(tailnet)) as url:
            tailnet.url = url
            made.cloud.services.append(tailnet)
            for plugin in ("tailscale", "command"):
                made.cloud.install(plugin)
            environment = made.cloud.environment(made.stack.environment)
            stack = replace(made.stack, environment=environment)
            (stack.folder / "control.crt").write_text(tailnet.certificate)
            options = {
                "control-url": tailnet.control_url,
                "control-certificate": "control.crt",
            }
            yield Scene(Stage(stack, made.cloud), tailnet, options)


@pytest.mark.long
@pytest.mark.parametrize("name", ["do-headscale", "do-tailscale"])
def test_an_example_can_be_previewed(scene: Scene, name: str) -> None:
    example = yaml.safe_load((ROOT / f"Pulumi.{name}.yaml").read_text())["config"]
    stack = replace(scene.stack, base=example)
    stack.configure({})
    ended = stack.pulumi("preview")
    assert ended.exit == 0, ended.said
    assert "6 droplets of size s-1vcpu-2gb cost 0.107 USD an hour" in ended.said
    assert ("tailscale:index:TailnetKey" in ended.said) == (name == "do-tailscale")
    assert scene.stage.cloud.inventory() == {}


@pytest.mark.long
def test_no_secret_is_anywhere_in_plain_text(scene: Scene) -> None:
    """Runs first: it watches the processes of a first `pulumi up`."""
    stack = scene.stack
    stack.configure({f"e3:{key.replace('_', '-')}": v for key, v in scene.values.items()})
    tell(stack, "config set --secret --path e3:private-args.ams3-0", CANARY)
    with watching() as seen:
        said = stack.pulumi("up --yes --skip-preview")
    assert said.exit == 0, said.said
    export = stack.pulumi("stack export", "--show-secrets").said
    made = [key.encode() for key in scene.tailnet.secrets()] + private_keys(export)
    assert len(made) > len(NAMES), "the tailnet's key and an SSH key for each host"
    given = [text.encode() for text in (API_KEY, TOKEN, SECRET, CANARY, "PRIVATE KEY")]
    assert CANARY in export
    own = stack.folder / ".e3" / stack.name / "ssh"  # the stack's SSH key, mode 0600
    assert {path.stat().st_mode & 0o077 for path in own.glob("id_*") if path.suffix == ""} == {0}
    files = [*(stack.folder / ".e3").rglob("*"), *stack.folder.glob("Pulumi.*")]
    files = [path for path in files if path.is_file() and own not in path.parents]
    for secret in [*made, *given]:
        assert not [path for path in files if secret in path.read_bytes()], secret
        assert secret.decode() not in said.said
        assert not [line for line in seen.commands if secret in line], secret
    for secret in made:  # the others are in the environment of the deployer
        assert not [line for line in seen.environments if secret in line], secret
    for droplet in scene.stage.cloud.room.lab.hosts():
        if droplet.name not in {"desk", "control"}:
            look = f"grep -rlF {' '.join(f'-e {key}' for key in scene.tailnet.secrets())} {PLACES}"
            assert ask(droplet.host(), "sh", "-c", f"{look} 2>/dev/null || true") == ""


def tell(stack: Stack, verb: str, text: str) -> None:
    """Run a verb of Pulumi which reads ``text``."""
    subprocess.run(
        [*stack.prefix, "pulumi", *verb.split(), "--stack", stack.name],
        cwd=stack.folder,
        env=dict(stack.environment),
        input=text.encode(),
        check=True,
        capture_output=True,
        timeout=600,
    )


def private_keys(text: str) -> list[bytes]:
    """Return a line from the middle of each OpenSSH private key in a JSON text."""
    bodies = re.findall(r"OPENSSH PRIVATE KEY-----(.*?)-----END", text)
    return sorted({re.split(r"\\+n", body)[3].encode() for body in bodies})


@dataclass
class Seen:
    """What anybody sees of processes, and what root sees."""

    commands: set[bytes] = field(default_factory=set)
    environments: set[bytes] = field(default_factory=set)


@contextmanager
def watching() -> Iterator[Seen]:
    """Collect command lines and environments of all processes, hosts' as well."""
    seen, over = Seen(), threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    seen.commands.add((process / "cmdline").read_bytes())
                    seen.environments.add((process / "environ").read_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


@pytest.mark.long
def test_droplets_through_their_life(scene: Scene) -> None:
    stack, tailnet = scene.stack, scene.tailnet
    session = scene.up()["session"]
    devices, enrolled = tailnet.devices(), scene.enrolled
    assert set(devices) == set(enrolled) == NAMES
    assert stack.pulumi("preview", "--expect-no-changes").exit == 0

    # another key changes no host and no device, and no session runs
    (key,) = tailnet.keys
    tailnet.revoke_key(key)
    droplets = scene.stage.droplets()
    assert scene.up("--refresh")["session"]["id"] == session["id"]
    assert key not in tailnet.keys
    assert scene.stage.droplets() == droplets
    assert tailnet.devices() == devices
    assert scene.enrolled == enrolled

    # one that was deleted by hand comes back under its name, the others stay
    scene.unplug("sgp1-0")
    scene.up("--refresh")
    assert set(tailnet.devices()) == NAMES
    moved = {name for name, id_ in tailnet.devices().items() if devices[name] != id_}
    assert moved == {"sgp1-0"} == {n for n in NAMES if scene.enrolled[n] != enrolled[n]}

    # one that was deleted by hand keeps nothing from being destroyed
    scene.unplug("ams3-1")
    scene.stage.destroyed("--refresh")
    assert tailnet.devices() == {}
