"""The values of a stack's configuration as `pulumi up` passes them, read without Pulumi's engine.

The stack's file comes before the defaults of Pulumi.yaml. Pulumi reads YAML by other rules than
PyYAML (``yes`` is a word, ``1e3`` a number), and passes every value on as text. `read` follows
these rules for plain values. What it leaves to Pulumi itself are encrypted values and dates.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from e3.errors import ConfigurationError
from e3.pulumi_yaml import PulumiLoader, PulumiOnlyError
from e3.remote.text import printable

PROJECT = "Pulumi.yaml"
PREFIX = "e3:"
HUGE = 1e21
"""From here on Pulumi writes a number with an exponent."""

Ask = Callable[[], Mapping[str, str]]
"""Returns all values of the stack's configuration as Pulumi has them, decrypted."""


def read(project: Path, stack: str, keys: Iterable[str], ask: Ask) -> dict[str, str]:
    """Return the values of ``keys``, named without ``e3:``, in the folder ``project``.

    ``ask`` is called only if one of them is encrypted, or cannot be read without Pulumi. A missing
    file has no values. Raises `ConfigurationError` if a file is not a configuration.
    """
    wanted = [f"{PREFIX}{key}" for key in keys]
    try:
        rows = _defaults(project / PROJECT) | _rows(project / f"Pulumi.{stack}.yaml")
    except PulumiOnlyError:
        rows = {}
        found = None
    else:
        found = {key: rows[key] for key in wanted if key in rows}
    if found is None or any(map(_encrypted, found.values())):
        asked = ask()
        return {key.removeprefix(PREFIX): asked[key] for key in wanted if key in asked}
    return {key.removeprefix(PREFIX): text(value) for key, value in found.items()}


def text(value: object) -> str:
    """Return a value as Pulumi passes it to a program."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(_plain(value), default=str)


def _plain(value: object) -> object:
    """Return a value with whole numbers where Pulumi writes them so."""
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else text(key): _plain(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and abs(value) < HUGE and value.is_integer():
        return int(value)
    return value


def _encrypted(value: object) -> bool:
    if isinstance(value, dict):
        return set(value) == {"secure"} or any(map(_encrypted, value.values()))
    return isinstance(value, list) and any(map(_encrypted, value))


def _defaults(path: Path) -> dict[str, object]:
    """Return the defaults that the project declares."""
    declared = {
        key: row if isinstance(row, dict) else {"value": row} for key, row in _rows(path).items()
    }
    return {
        key: row.get("value", row.get("default"))
        for key, row in declared.items()
        if "value" in row or "default" in row
    }


def _rows(path: Path) -> dict[str, Any]:
    """Return the configuration in a file of a stack or of the project."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), PulumiLoader) or {}  # noqa: S506 -- a SafeLoader
        return {str(key): value for key, value in dict(raw.get("config") or {}).items()}
    except FileNotFoundError:
        return {}
    except (
        yaml.YAMLError,
        AttributeError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ConfigurationError(
            f"{path} is not a stack configuration: {printable(error)}"
        ) from None
