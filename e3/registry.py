"""Build what a `Choice` of the configuration names, such as a fleet or an overlay."""

import dataclasses
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from typing import Any, TypeVar, get_type_hints

import msgspec

from e3.errors import ConfigurationError
from e3.experiment import Choice

Block = TypeVar("Block")


def build(blocks: Mapping[str, Callable[..., Block]], choice: Choice, *, key: str) -> Block:
    """Return the block that ``choice`` names, with its options.

    ``blocks`` are frozen dataclasses by name whose fields are the options; their limits are
    annotations (`msgspec.Meta`). ``key`` is the configuration key that chose, for the error.
    Raises `ConfigurationError` for an unknown name or option, or an option of the wrong type
    or beyond its limits.
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
        made: Block = msgspec.convert(_whole(choice.options), block, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"e3:{key}-options: {_explain(error, choice, block)}") from error
    return made


def _whole(options: Mapping[str, object]) -> dict[str, object]:
    """Return options with whole numbers as such: in Pulumi's state each number is a float."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in options.items()
    }


def _decode(kind: type, value: object) -> object:
    """Return an option of a type that msgspec does not know."""
    if kind is IPv4Network:
        if not isinstance(value, str):
            raise ValueError("write it as 10.77.0.0/16")
        try:
            return IPv4Network(value)
        except ValueError as error:
            raise ValueError(f"{error}; write it as 10.77.0.0/16") from None
    raise NotImplementedError(kind)


def _spell(option: str) -> str:
    return option.replace("_", "-")


def _explain(error: msgspec.ValidationError, choice: Choice, block: Callable[..., Any]) -> str:
    reason, _, place = str(error).partition(" - at `$.")
    option = place.rstrip("`")
    if not option:
        return reason
    value = choice.options.get(option)
    if isinstance(value, int | float) and (limits := _limits(block, option)):
        return f"{_spell(option)} is {value!r}; {limits}"
    return f"{_spell(option)} is {value!r}: {reason[0].lower()}{reason[1:]}"


def _limits(block: Callable[..., Any], option: str) -> str:
    """Return which numbers an option takes, if it has limits."""
    for note in getattr(get_type_hints(block, include_extras=True)[option], "__metadata__", ()):
        if isinstance(note, msgspec.Meta) and note.ge is not None and note.le is not None:
            return f"write a number from {note.ge} to {note.le}"
    return ""
