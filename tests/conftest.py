"""The tiers of the tests, and which of them run one after another."""

import gc
import re
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from e3.overlays import OVERLAYS

TESTS = Path(__file__).parent


LONG = TESTS / "unit" / "test_setup.py"
"""Takes half a minute: at the end of all, the others would be through and wait for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, the folder that it lies in."""
    items.sort(key=lambda item: item.path != LONG)
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
