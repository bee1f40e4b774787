"""The tiers of the tests, and which of them run one after another."""

import gc
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from e3.overlays import OVERLAYS

TESTS = Path(__file__).parent

settings.register_profile("e3", deadline=None)  # no test asserts wall time
settings.load_profile("e3")


LONG = (
    "lab/test_interrupted.py",
    "lab/test_stack.py",
    "contract/test_overlays.py",
    "cloud/test_droplets.py",
    "lab/test_inventory.py",
    "cloud/test_do_nebula.py",
    "lab/test_tools.py",
    "contract/test_tor.py",
    "lab/test_run.py",
    "unit/test_setup.py",
)
"""What takes minutes, the longest first: begun at the end, it alone would keep all waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, the folder that it lies in."""
    rank = {TESTS / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])


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
