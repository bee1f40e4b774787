"""What cannot work as configured is refused with key, value and remedy, before anything is made."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from e3 import preflight, pulumi_state
from e3.config import parse
from e3.deployment import deploy
from e3.errors import ConfigurationError, E3Error, PlatformError
from e3.experiment import Experiment
from e3.overlays import OVERLAYS
from e3.preflight import Equipment
from e3.registry import build

pytestmark = pytest.mark.unit

RANGED = ["didcomm", "nebula", "openvpn", "tinc", "wireguard"]


def experiment(**values: object) -> Experiment:
    """Return the configuration of stack trial; a value that is not a string becomes JSON."""
    known: Mapping[str, object] = {"program": "demos/helloworld.py", **values}
    texts = {
        key.replace("_", "-"): value if isinstance(value, str) else json.dumps(value)
        for key, value in known.items()
    }
    return parse("trial", texts)


def refusal(made: Experiment) -> str:
    """Return why the deployment is refused. Pulumi does not run here, so nothing is made."""
    with pytest.raises(E3Error) as error:
        deploy(made)
    return str(error.value)


def overlapping(**values: object) -> str:
    made = experiment(**values)
    with pytest.raises(ConfigurationError) as error:
        preflight.check_range(made, build(OVERLAYS, made.overlay, key="overlay"))
    return str(error.value)


@pytest.mark.parametrize("overlay", RANGED)
def test_a_range_of_the_underlay_is_refused(overlay: str) -> None:
    said = refusal(experiment(overlay=overlay, overlay_options={"range": "198.19.0.0/24"}))
    assert "range is '198.19.0.0/24', which overlaps 198.18.0.0/15, the underlay of labs" in said
    assert said.endswith("choose one that is free, such as 10.81.0.0/16")


def test_a_range_of_private_networks_is_refused_where_there_are_nats() -> None:
    homes = {"range": "172.20.0.0/16"}
    nats = {"sgp1": "symmetric"}
    assert "172.16.0.0/12, where hosts behind NATs" in overlapping(overlay_options=homes, nats=nats)
    made = experiment(overlay_options=homes)
    preflight.check_range(made, build(OVERLAYS, made.overlay, key="overlay"))


def test_the_range_of_another_stack_is_refused_if_it_was_chosen(tmp_path: Path) -> None:
    states = tmp_path / pulumi_state.STACKS
    states.mkdir(parents=True)
    joined = {
        "urn": "urn:pulumi:other::e3::pulumi-python:dynamic/e3:Overlay::nebula",
        "type": "pulumi-python:dynamic/e3:Overlay",
        "outputs": {"kind": "nebula", "options": {"range": "10.81.4.0/22"}},
    }
    for stack, latest in (("down", {}), ("other", {"latest": {"resources": [joined]}})):
        (states / f"{stack}.json").write_text(json.dumps({"checkpoint": latest}))
    made = experiment(overlay="wireguard", overlay_options={"range": "10.81.0.0/16"})
    made = replace(made, folder=tmp_path / "trial")
    overlay = build(OVERLAYS, made.overlay, key="overlay")
    with pytest.raises(ConfigurationError, match=r"overlaps 10\.81\.4\.0/22, the overlay of stack"):
        preflight.check_range(made, overlay)
    # neither its own range nor the default one is refused
    (states / "other.json").rename(states / "trial.json")
    preflight.check_range(made, overlay)
    same = replace(experiment(), folder=tmp_path / "second", stack="second")
    preflight.check_range(same, build(OVERLAYS, same.overlay, key="overlay"))


@pytest.mark.parametrize("overlay", RANGED)
def test_fifty_hosts_in_a_29_are_refused(overlay: str) -> None:
    options = {"range": "10.90.0.0/29"}
    said = refusal(experiment(overlay=overlay, regions={"ams3": 50}, overlay_options=options))
    assert "range is '10.90.0.0/29': 6 addresses are too few for 50 hosts; choose" in said


@pytest.mark.parametrize("overlay", ["plain", *RANGED])
def test_a_fleet_of_one_is_refused(overlay: str) -> None:
    said = refusal(experiment(overlay=overlay, regions={"ams3": 1}))
    assert said.startswith("e3:regions: one host has nobody to compute with; make two or more")


@pytest.mark.parametrize(
    "overlay", [name for name, make in sorted(OVERLAYS.items()) if make().needs.public_host]
)
def test_without_a_public_host_it_says_what_would_work(overlay: str) -> None:
    said = refusal(
        experiment(
            overlay=overlay,
            nats=dict.fromkeys(("ams3", "nyc3"), "full-cone")
            | dict.fromkeys(("sfo3", "sgp1"), "symmetric"),
        )
    )
    assert said.startswith(f"e3:nats: {overlay} needs a host that the others can reach, and none")
    assert "choose in e3:overlay what works here: " in said
    assert "tailscale" in said.rpartition("here: ")[2]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"authority": "join"}, "e3:authority: unknown value 'join'; choose one of joint, local"),
        (
            {"authority": "joint", "overlay": "plain"},
            "e3:authority: a joint authority has nothing to sign: plain needs none",
        ),
        (
            {"authority": "joint", "authority_options": {"holders": ["nowhere-0"]}},
            "e3:authority-options: holders has 'nowhere-0', and there is no such host",
        ),
        (
            {"authority": "local", "authority_options": {"threshold": 2}},
            "e3:authority-options: local has no option 'threshold'; it has: none",
        ),
    ],
)
def test_an_authority_that_cannot_be_is_refused(values: dict[str, object], said: str) -> None:
    assert refusal(experiment(**values)).startswith(said)


@pytest.mark.parametrize("overlay", sorted(OVERLAYS))
def test_an_unknown_option_is_named_with_those_that_there_are(overlay: str) -> None:
    said = refusal(experiment(overlay=overlay, overlay_options={"colour": "red"}))
    assert said.startswith(f"e3:overlay-options: {overlay} has no option 'colour'; it has: ")


@pytest.mark.parametrize(
    ("overlay", "options", "said"),
    [
        ("nebula", {"mtu": 100}, "mtu is 100; write a number from 576 to 9000"),
        ("nebula", {"certificate-days": 0}, "certificate-days is 0"),
        ("tinc", {"keepalive": 1}, "keepalive is 1; write a number from 5 to 3600"),
        ("wireguard", {"port": "x"}, "port is 'x': expected `int`, got `str`"),
        ("wireguard", {"psk": 1}, "psk is 1: expected `bool`, got `int`"),
        ("headscale", {"key-minutes": 0}, "key-minutes is 0; write a number from 1"),
        (
            "nebula",
            {"range": "10.77.0.1/16"},
            "range is '10.77.0.1/16': 10.77.0.1/16 has host bits",
        ),
    ],
)
def test_an_option_out_of_range_is_named(
    overlay: str, options: Mapping[str, object], said: str
) -> None:
    made = experiment(overlay=overlay, overlay_options=dict(options))
    assert refusal(made).startswith(f"e3:overlay-options: {said}")


@pytest.mark.parametrize("overlay", [name for name in sorted(OVERLAYS) if name != "plain"])
def test_an_overlay_without_its_programs_is_refused(overlay: str, tmp_path: Path) -> None:
    needs = OVERLAYS[overlay]().needs
    bare = Equipment(built=tmp_path, path=str(tmp_path))
    lacking = ", ".join((*needs.tools, *needs.packages))
    with pytest.raises(PlatformError, match=rf"{overlay} needs {lacking}, .*`scripts/setup trial`"):
        bare.check(overlay, needs, "trial")
    bare.check("plain", OVERLAYS["plain"]().needs, "trial")
