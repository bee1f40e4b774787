"""Whether what a verb printed with ``--json`` is what its schema says."""

import json
from typing import Any

import msgspec

from e3.cli.schemas import VERBS


def conforming(verb: str, text: str) -> Any:  # noqa: ANN401 - whatever JSON it is
    """Return the values; fail unless they have the types of the verb and no key besides."""
    values = json.loads(text)
    again = msgspec.to_builtins(msgspec.convert(values, VERBS[verb]))
    unknown = set(keys(values)) - set(keys(again))
    assert not unknown, f"{verb}: the schema lacks {sorted(unknown)}"
    return values


def keys(value: object, place: str = "") -> list[str]:
    """Return the path of each key."""
    if isinstance(value, dict):
        below = [found for key, each in value.items() for found in keys(each, f"{place}.{key}")]
        return [*(f"{place}.{key}" for key in value), *below]
    if isinstance(value, list):
        return [found for each in value for found in keys(each, f"{place}[]")]
    return []
