"""A stack of the lab with its own key of a tailnet, whose control server is real."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from e3.components.tailnet_key import render_policy
from tests.cloud.cloud import install
from tests.cloud.room import HOME, Room
from tests.cloud.tailnet import DEFAULT, Tailnet, application
from tests.stack import Ended, Stack, project, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the control server's ports need root")

HELLO = "demos/helloworld.py"
NAMES = {"ams3-0", "ams3-1", "sgp1-0"}


@dataclass(frozen=True)
class Scene:
    """A stack of the lab, in which the tailnet's control server is a host of its own."""

    stack: Stack
    tailnet: Tailnet
    options: dict[str, object]

    def try_up(self, **options: object) -> Ended:
        """Run `pulumi up` with the overlay ``tailscale`` and these options besides."""
        options = {**self.options, **options}
        return self.stack.up(overlay="tailscale", overlay_options=options, program=HELLO)

    def up(self, **options: object) -> dict[str, Any]:
        """Run it, which must succeed; return the outputs."""
        ended = self.try_up(**options)
        assert ended.exit == 0, ended.said
        return self.stack.outputs


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


@pytest.mark.long
def test_a_stack_with_a_policy_of_its_own(scene: Scene) -> None:
    stack, tailnet = scene.stack, scene.tailnet
    assert scene.up(policy="own")["session"]["verdict"] == "completed"
    assert tailnet.policy == render_policy("tag:e3")
    assert set(tailnet.devices()) == NAMES
    (key,) = tailnet.keys.values()
    can = key["capabilities"]["devices"]["create"]
    assert can == {"reusable": True, "ephemeral": True, "preauthorized": True, "tags": ["tag:e3"]}
    assert key["expirySeconds"] == 3600
    assert key["description"].startswith("e3 trial ")
    assert stack.pulumi("preview", "--expect-no-changes").exit == 0

    # a host that is gone keeps nothing from being destroyed, and its device goes by its id
    (gone,) = [host for host in stack.lab.hosts() if host.name == "sgp1-0"]
    os.kill(gone.identity.pid, signal.SIGKILL)
    until(lambda: gone not in stack.lab.hosts(), "the lab notices a dead host")
    leave(stack)
    assert tailnet.devices() == {}
    assert not tailnet.keys
    assert tailnet.pristine


@pytest.mark.long
def test_the_policy_that_somebody_wrote_is_left_alone(scene: Scene) -> None:
    theirs = {**DEFAULT, "groups": {"group:family": ["owner@"]}}
    scene.tailnet.set_policy(theirs)
    ended = scene.try_up(policy="own")
    assert ended.exit != 0
    assert "trying to overwrite a non-default policy" in ended.said
    assert scene.tailnet.policy == theirs
    assert not scene.tailnet.keys


def leave(stack: Stack) -> None:
    """Destroy what was made at the tailnet and on the hosts, not the lab: it has the tailnet."""
    wanted = ("e3:Overlay ", "tailscale:")
    found = [r["urn"] for name, r in stack.resources.items() if name.startswith(wanted)]
    options = [word for urn in found for word in ("--target", urn)]
    ended = stack.pulumi("destroy --yes --skip-preview --target-dependents", *options)
    assert ended.exit == 0, ended.said
