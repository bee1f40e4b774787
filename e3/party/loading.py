"""Loads what a program's process will need, while the agreement waits for other parties.

To load it takes as long as a round trip, and every party of a lab does so at the same time. E3
alone is loaded, with what it imports: a program may have files of its own with the names of other
modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

STEPS = (
    "concurrent.futures",
    "ssl",
    "subprocess",
    "asyncio.events",
    "asyncio.base_events",
    "asyncio",
    "e3.party.unpickle",
    "e3.party.hooks",
    "e3.party.program",
)
"""The last one imports all others; they come first since a message waits until a step is done."""


def load() -> Iterator[str]:
    """Load a module a step, and yield its name."""
    for name in STEPS:
        import_module(name)
        yield name
