"""The tiers of the tests, and which of them run one after another."""

import gc
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from e3.overlays import OVERLAYS

TESTS = Path(__file__).parent

settings.register_profile("quick", max_examples=10, deadline=None)
settings.register_profile("lean", max_examples=50, deadline=None)
settings.register_profile("full", max_examples=10_000, deadline=None)
# Begun in the background of a shell, this process ignores Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.load_profile("lean")  # unless --hypothesis-profile names another, as `make fuzz` does

LONG = (
    "lab/test_campaign_truth.py",
    "lab/test_campaign.py",
    "lab/test_stack.py",
    "cloud/test_droplets.py",
    "cloud/test_do_tailscale.py",
    "lab/test_surroundings.py",
    "lab/test_inventory.py",
    "contract/test_overlays.py",
    "lab/test_doctor.py",
    "lab/test_interrupted.py",
    "cloud/test_do_nebula.py",
    "faults/test_faults.py",
    "contract/test_access.py",
    "lab/test_nothing_left.py",
    "lab/test_run.py",
    "cloud/test_orphans.py",
    "unit/session/test_agreement.py",
    "contract/test_example_overlay.py",
    "lab/test_old_state.py",
    "unit/test_setup.py",
    "cloud/test_tailnet_stack.py",
    "unit/cli/test_doctor.py",
    "contract/test_tor.py",
    "resilience/test_resilience.py",
    "lab/test_nat_stack.py",
    "lab/test_nat_overlays.py",
    "lab/test_tunnels.py",
    "cloud/test_built_image.py",
    "lab/test_joint_stack.py",
    "lab/test_tools.py",
    "faults/test_leftovers.py",
    "faults/test_containment.py",
)
"""What takes minutes on a busy machine, the longest first: begun at the end, it alone would keep
all waiting."""

SLOW = (
    "unit/evaluation/test_observed_report.py",
    "unit/cli/test_display.py",
    "unit/cli/test_doctor.py",
    "unit/cli/test_runs.py",
    "unit/cli/test_schemas.py",
    "unit/cli/test_show.py",
    "unit/inventory/test_imports.py",
    "unit/session/test_agreement.py",
    "unit/session/test_demos_and_programs.py",
    "unit/session/test_flight.py",
    "unit/session/test_hostile_agreement.py",
    "unit/session/test_inputs.py",
    "unit/session/test_mixed.py",
    "unit/session/test_outputs.py",
    "unit/session/test_packages.py",
    "unit/session/test_paths.py",
    "unit/session/test_private_files.py",
    "unit/session/test_queue.py",
    "unit/session/test_real_packages.py",
    "unit/session/test_run_session.py",
    "unit/session/test_source.py",
    "unit/session/test_tls.py",
    "unit/test_mishaps.py",
    "unit/test_setup.py",
)
"""Unit tests of whole sessions, of the command and of set-up: not in `scripts/test --quick`."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with its tier, the folder that it lies in; leave out what is too much.

    What is marked `long` runs where that or its tier is asked for by name, as by ``-m faults``.
    """
    rank = {TESTS / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    slow = {TESTS / name for name in SLOW}
    asked = config.option.markexpr
    left_out = set()
    for item in items:
        tier = item.path.relative_to(TESTS).parts[0]
        item.add_marker(tier)
        if item.path in slow:
            item.add_marker("slow")
        if item.get_closest_marker("long") and "long" not in asked and tier not in asked:
            left_out.add(item)
    config.hook.pytest_deselected(items=[*left_out])
    items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """Let no collection of garbage look again through what all the modules have loaded."""
    gc.freeze()


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types for it
    """Has one worker run the tests of a file, as they share what they make.

    Of a file that goes through the overlays, each overlay is a file of its own.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        overlays = [word for word in re.split(r"[\[\]-]", test) if word in OVERLAYS]
        return " ".join([file, *overlays[:1]])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:  # noqa: ANN401 -- py.log's
    """Return what gives tests to workers, for ``--dist loadfile``."""
    return ByFile(config, log)
