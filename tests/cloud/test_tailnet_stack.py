"""A stack with its own key of a tailnet, whose control server is real, through its life."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.cloud import install
from tests.cloud.room import HOME, Room
from tests.cloud.tailnet import Tailnet, application
from tests.stack import Stack, project, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the control server's ports need root")

HELLO = "demos/helloworld.py"
NAMES = {"ams3-0", "ams3-1", "sgp1-0"}
KEY = "tailscale:index/tailnetKey:TailnetKey tailnet"


@dataclass(frozen=True)
class Scene:
    """A stack of the lab, in which the tailnet's control server is a host of its own."""

    stack: Stack
    tailnet: Tailnet
    options: dict[str, object]

    def up(self, **values: object) -> dict[str, Any]:
        """Bring the stack up with the overlay ``tailscale``."""
        options = {**self.options, **values.pop("options", {})}  # type: ignore[dict-item]
        return self.stack.brought_up(
            overlay="tailscale", overlay_options=options, program=HELLO, **values
        )

    @property
    def keys(self) -> set[str]:
        """The ids of the tailnet's keys."""
        return set(self.tailnet.keys)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The hosts are up, and not joined by anything yet."""
    with project(tmp_path_factory.mktemp("project")) as stack:
        stack.brought_up(overlay="plain", program=HELLO)
        stack.lab.add_region(HOME)
        room = Room(stack.lab, stack.lab.add_host("desk", HOME))
        tailnet = Tailnet(room, tools=str(stack.folder / ".tools" / "bin"))
        (stack.folder / "control.crt").write_text(tailnet.certificate)
        plugins = stack.folder / "plugins"
        plugins.mkdir()
        install(plugins, "tailscale")
        with room.serving(application(tailnet)) as url:
            tailnet.url = url
            path = {"PATH": f"{plugins}:{stack.environment['PATH']}"}
            environment = {**stack.environment, **path, **tailnet.environment}
            yield Scene(
                replace(stack, prefix=room.prefix, environment=environment),
                tailnet,
                {"control-url": tailnet.control_url, "control-certificate": "control.crt"},
            )


def lives(stack: Stack) -> dict[str, tuple[int, int]]:
    """Return the hosts that live, each with process id and start of its first process."""
    return {host.name: (host.identity.pid, host.identity.started) for host in stack.lab.hosts()}


def clients(stack: Stack) -> set[str]:
    """Return the processes that are the hosts' Tailscale."""
    program, found = stack.folder / ".tools/bin/tailscaled", set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(f"{program}\0".encode()):
                found.add(f"{process.name} {(process / 'stat').read_text().split()[21]}")
        except OSError:
            continue
    return found


def test_a_stack_through_its_life(scene: Scene) -> None:
    stack, tailnet = scene.stack, scene.tailnet
    outputs = scene.up()
    assert outputs["session"]["verdict"] == "completed"
    first = dict(tailnet.devices())
    assert set(first) == NAMES
    (key,) = scene.keys
    asked = tailnet.keys[key]
    can = asked["capabilities"]["devices"]["create"]
    assert can == {"reusable": True, "ephemeral": True, "preauthorized": True, "tags": ["tag:e3"]}
    assert asked["expirySeconds"] == 3600
    assert asked["description"].startswith("e3 trial ")

    # nothing changed: no new key, no diff
    assert stack.pulumi("preview", "--expect-no-changes").exit == 0

    # a key that is gone is noticed by a refresh, and another one changes no host
    alive, running = lives(stack), clients(stack)
    tailnet.revoke_key(key)
    assert stack.pulumi("refresh --yes --skip-preview").exit == 0
    again = scene.up()
    assert scene.keys
    assert key not in scene.keys
    assert again["session"]["id"] == outputs["session"]["id"]
    assert (lives(stack), clients(stack), tailnet.devices()) == (alive, running, first)

    # a host that was killed is another device of the same name, and the old one is gone
    os.kill(alive["ams3-1"][0], signal.SIGKILL)
    until(lambda: "ams3-1" not in lives(stack), "the lab notices a dead host")
    (key,) = scene.keys
    scene.up()
    assert set(tailnet.devices()) == NAMES
    assert tailnet.devices()["ams3-1"] != first["ams3-1"]
    assert tailnet.devices()["ams3-0"] == first["ams3-0"]
    assert key not in scene.keys
    assert len(scene.keys) == 1

    # removed by hand before `destroy`: the device goes all the same, by its id
    os.kill(lives(stack)["sgp1-0"][0], signal.SIGKILL)
    until(lambda: "sgp1-0" not in lives(stack), "the lab notices a dead host")
    ended = stack.pulumi("destroy --yes --skip-preview --target-dependents", *targets(stack))
    assert ended.exit == 0, ended.said
    assert tailnet.devices() == {}
    assert scene.keys == set()


def targets(stack: Stack) -> list[str]:
    """Return options for what was made at the tailnet and on the hosts, not the lab."""
    wanted = ("e3:Overlay ", "tailscale:")
    found = [r["urn"] for name, r in stack.resources.items() if name.startswith(wanted)]
    return [word for urn in found for word in ("--target", urn)]
