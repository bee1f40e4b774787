"""Classes and functions by name, each loaded once it is asked for."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TypeVar, cast

Block = TypeVar("Block")


class OnDemand(Mapping[str, Block]):
    """What is named, by name, each loaded from ``module:name`` once it is asked for.

    A process uses one or two of them; to load all takes as long as the rest of E3.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        """Store where each is."""
        self._places = places

    def __getitem__(self, name: str) -> Block:
        """Return what has that name; raise `KeyError` if there is none."""
        module, _, what = self._places[name].partition(":")
        return cast("Block", getattr(import_module(module), what))

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._places)
