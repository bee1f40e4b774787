"""One stack a module: making the private project costs more than most of what is tried on it."""

from collections.abc import Iterator

import pytest

from tests.stack import Stack, project


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of three hosts that is not up yet; a test says what it needs by `Stack.up`."""
    with project(tmp_path_factory.mktemp("project")) as made:
        yield made
