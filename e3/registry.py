"""Building blocks by name: from a `Choice` of the configuration to the value it names."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from e3.errors import ConfigurationError
from e3.experiment import Choice

Block = TypeVar("Block")


def build(blocks: Mapping[str, Callable[..., Block]], choice: Choice, *, key: str) -> Block:
    """Return the block that ``choice`` names, with its options.

    ``blocks`` are frozen dataclasses by name whose fields are the options; ``key`` is the
    configuration key that chose, for the error. Raises `ConfigurationError` for an
    unknown name or option, or an option of the wrong type.
    """
    try:
        block = blocks[choice.name]
    except KeyError:
        raise ConfigurationError(
            f"e3:{key}: unknown value {choice.name!r}; choose one of {', '.join(sorted(blocks))}"
        ) from None
    options = [field.name for field in dataclasses.fields(block)]  # type: ignore[arg-type] # a class
    for name in choice.options:
        if name not in options:
            known = ", ".join(_spell(option) for option in options) or "none"
            raise ConfigurationError(
                f"e3:{key}-options: {choice.name} has no option {_spell(name)!r}; it has: {known}"
            )
    try:
        made: Block = msgspec.convert(choice.options, block)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"e3:{key}-options: {_explain(error, choice)}") from error
    return made


def _spell(option: str) -> str:
    return option.replace("_", "-")


def _explain(error: msgspec.ValidationError, choice: Choice) -> str:
    reason, _, place = str(error).partition(" - at `$.")
    option = place.rstrip("`")
    value = choice.options.get(option)
    return f"{_spell(option)} is {value!r}: {reason[0].lower()}{reason[1:]}" if option else reason
