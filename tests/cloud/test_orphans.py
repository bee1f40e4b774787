"""Random lives of a stack: whatever is done and fails, nothing is left that nobody knows of."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.cloud.stage import DESTROY, SMALL, Stage, stage
from tests.stack import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd needs a lab of root's")

LIVES = os.environ.get("E3_LIVES")
"""How many lives to take, each of them another one; without it two that are always the same."""

STEPS_EACH = (2, 4)
"""Each command of Pulumi takes 4 s or more."""

REGIONS = ({"ams3": 2}, {"ams3": 3}, {"sgp1": 2}, {"ams3": 1, "sgp1": 1})
FAULTS: tuple[dict[str, Any], ...] = (
    {},
    {"busy": 9, "broken": 5},
    {"nothing_made": True},
    {"nothing_boots": True},
)

PATIENCE_SECONDS = 5
"""For a droplet that does not boot; one that boots, does so in less than a second."""

Step = tuple[str, dict[str, int], dict[str, Any]]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["up", "up", "killed up", "refresh", "lose", "destroy"]),
        st.sampled_from(REGIONS),
        st.sampled_from(FAULTS),
    ),
    min_size=STEPS_EACH[0],
    max_size=STEPS_EACH[1],
)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("bare"), bare=True) as made:
        environment = {**made.stack.environment, "STAND_IN_PATIENCE_SECONDS": "2"}
        options = {**made.image(), "answer-seconds": PATIENCE_SECONDS}
        base = {**SMALL, "e3:fleet-options": options}
        yield replace(made, stack=replace(made.stack, environment=environment, base=base))


@pytest.mark.long
@settings(
    max_examples=int(LIVES or 2),
    derandomize=LIVES is None,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
    phases=[Phase.generate],  # to find a shorter life would take as long again and again
)
@given(STEPS)
def test_no_orphan(bare: Stage, steps: list[Step]) -> None:
    lost = False  # whether a killed engine may have left what no state knows
    try:
        for verb, regions, faults in steps:
            with bare.cloud.faults.on(**faults):
                take(bare, verb, regions)
            lost = (lost or verb == "killed up") and verb != "destroy"
            if not lost:
                bare.agree()
    finally:
        bare.pulumi(DESTROY, "--refresh")
    assert bare.cloud.inventory() == {}
    assert not bare.cloud.digitalocean.account.tags


def take(bare: Stage, verb: str, regions: dict[str, int]) -> None:
    """Take a step, which may fail."""
    account = bare.cloud.digitalocean.account
    if verb == "up":
        bare.up(regions=regions)
    elif verb == "killed up":
        killed(bare, regions)
    elif verb == "destroy":
        bare.pulumi(DESTROY, "--refresh")
    else:
        if verb == "lose" and account.droplets:
            account.delete_droplet(min(account.droplets))
        bare.pulumi("refresh --yes --skip-preview --clear-pending-creates")


def killed(bare: Stage, regions: dict[str, int]) -> None:
    """Kill `up` once it has asked for a droplet, or once it is over."""
    account = bare.cloud.digitalocean.account
    before = set(account.droplets)
    bare.stack.configure({"e3:regions": regions})
    process = bare.stack.begin("up", "--yes", "--skip-preview")
    until(lambda: process.poll() is not None or set(account.droplets) > before, "up has begun")
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    bare.pulumi("cancel --yes")
