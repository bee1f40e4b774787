"""The settings of a stack's sessions, from the values of its configuration."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

from e3.errors import ConfigurationError
from e3.experiment import (
    Comparison,
    Dependencies,
    InputNames,
    Limits,
    Openness,
    Outputs,
    Rules,
    SessionSettings,
)
from e3.party.outputs import fault_of
from e3.pulumi_yaml import structure
from e3.session import inputs
from e3.session.programs import check_args

T = TypeVar("T")

MOST = 1e6
"""Of any limit: a terabyte, eleven days."""

COMPARISONS: Mapping[str, Comparison] = {name: name for name in get_args(Comparison)}
DEPENDENCIES: Mapping[str, Dependencies] = {name: name for name in get_args(Dependencies)}
INPUT_NAMES: Mapping[str, InputNames] = {name: name for name in get_args(InputNames)}
OUTPUTS: Mapping[str, Outputs] = {name: name for name in get_args(Outputs)}
OPENNESS: Mapping[str, Openness] = {name: name for name in get_args(Openness)}


SESSION_KEYS = (
    *("args", "compare", "deadline-seconds", "dependencies", "entry", "input-names", "inputs"),
    *("keep", "limits", "network", "outputs", "parties", "private-args", "program", "tls"),
    *("trigger", "unpickle"),
)
"""What `session_settings` reads."""

SECRET_KEYS = ("private-args",)
"""No message shows their values."""


def session_settings(values: Mapping[str, str], hosts: Sequence[str]) -> SessionSettings:
    """Return what values as `e3.config.parse` takes say of sessions on ``hosts``.

    Raises `ConfigurationError`, or `ProgramError` for an argument that only E3 can give.
    """
    return SessionSettings(
        program=Path(values.get("program", "demos/secret_santa.py")),
        entry=values.get("entry", ""),
        args=_arguments(values),
        parties=int(number(values, "parties", 0, least=0, whole=True)) or len(hosts),
        trigger=values.get("trigger", ""),
        deadline_seconds=number(values, "deadline-seconds", 600, least=1),
        rules=_rules(values),
        private_args=_private(mapping(values, "private-args", {}), hosts),
        inputs=_inputs(values, hosts),
    )


def _inputs(values: Mapping[str, str], hosts: Sequence[str]) -> Path | None:
    folder = Path(values["inputs"]) if values.get("inputs") else None
    if folder is not None:
        inputs.check("e3:inputs", folder, hosts)
    return folder


def _arguments(values: Mapping[str, str]) -> tuple[str, ...]:
    text = values.get("args", "")
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigurationError(f"e3:args: {text!r} cannot be split: {error}") from error


def _private(raw: Mapping[str, object], hosts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    private: dict[str, tuple[str, ...]] = {}
    for host, text in raw.items():
        # no message here shows a value: it is private
        if host not in hosts:
            raise ConfigurationError(
                f"e3:private-args: there is no host {host!r}; choose one of {', '.join(hosts)}"
            )
        if not isinstance(text, (str, int, float)) or isinstance(text, bool):
            raise ConfigurationError(f"e3:private-args: the arguments of {host} must be a string")
        try:
            private[host] = tuple(shlex.split(str(text)))
        except ValueError as error:
            raise ConfigurationError(
                f"e3:private-args: the arguments of {host} cannot be split: {error}"
            ) from None
        check_args(f"e3:private-args of {host}", private[host])
    return private


def _rules(values: Mapping[str, str]) -> Rules:
    return Rules(
        limits=_limits(mapping(values, "limits", {})),
        compare=_word(values, "compare", "none", COMPARISONS),
        unpickle=_types(values.get("unpickle", "[]")),
        tls=boolean(values, "tls"),
        network=_word(values, "network", "peers", OPENNESS),
        outputs=_word(values, "outputs", "evidence", OUTPUTS),
        keep=patterns("e3:keep", values.get("keep", "[]")),
        input_names=_word(values, "input-names", "same", INPUT_NAMES),
        dependencies=_word(values, "dependencies", "auto", DEPENDENCIES),
    )


def _word(values: Mapping[str, str], key: str, default: str, words: Mapping[str, T]) -> T:
    """Return the value of a key that is one of a few words."""
    text = values.get(key, default)
    if text not in words:
        raise ConfigurationError(
            f"e3:{key}: unknown value {text!r}; choose one of {', '.join(words)}"
        )
    return words[text]


def _limits(raw: Mapping[str, object]) -> Limits:
    known = {f.name.replace("_", "-"): f for f in fields(Limits)}
    limits: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in known:
            raise ConfigurationError(
                f"e3:limits: unknown limit {key!r}; choose one of {', '.join(sorted(known))}"
            )
        whole = known[key].type is int
        number = float(value) if isinstance(value, (int, float)) else 0.0
        fits = 1 <= number <= MOST and not (whole and number % 1)
        if isinstance(value, bool) or not fits:
            kind = "whole number" if whole else "number"
            raise ConfigurationError(
                f"e3:limits: {key} is {value!r}; write a {kind} from 1 to {MOST:g}"
            )
        # whether 5.0 or 5 was written, Pulumi may pass on the other
        limits[known[key].name] = int(number) if whole else value
    return Limits(**limits)


def _types(text: str) -> tuple[str, ...]:
    names = structure(text)
    if not isinstance(names, list) or not all(
        isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name)
        for name in names
    ):
        raise ConfigurationError(
            f"e3:unpickle: {text!r} is not a list of types; write it as `unpickle: "
            "[module.name]`, such as [__main__.Ballot]"
        )
    return tuple(names)


def patterns(where: str, text: str) -> tuple[str, ...]:
    """Return a list of patterns of files; raise `ConfigurationError`, which names ``where``."""
    found = structure(text)
    if not isinstance(found, list) or not all(
        isinstance(each, str) and each and not fault_of(each) for each in found
    ):
        raise ConfigurationError(
            f"{where}: {text!r} is not a list of patterns; write it as `keep: ['*.enc']`, relative "
            "to the program's folder"
        )
    return tuple(found)


def boolean(values: Mapping[str, str], key: str) -> bool:
    """Return a value that is true or false; raise `ConfigurationError` if it is not."""
    text = values.get(key, "false").lower()
    if text not in {"true", "false"}:
        raise ConfigurationError(f"e3:{key}: {values[key]!r} is neither true nor false")
    return text == "true"


def mapping(values: Mapping[str, str], key: str, default: dict[str, object]) -> dict[str, object]:
    """Return a value that is a mapping; raise `ConfigurationError` if it is none."""
    text = values.get(key)
    if text is None:
        return default
    value = structure(text)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        shown = "its value" if key in SECRET_KEYS else repr(text)
        raise ConfigurationError(
            f"e3:{key}: {shown} is not a mapping; write it as `{key}: {{name: value}}` in "
            f"Pulumi.<stack>.yaml, or type `pulumi config set --path 'e3:{key}.NAME' VALUE`"
        )
    return value


def number(
    values: Mapping[str, str], key: str, default: float, *, least: float, whole: bool = False
) -> float:
    """Return a value that is a number; raise `ConfigurationError` if it is not."""
    text = values.get(key, str(default))
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not number >= least or number == float("inf") or (whole and number != int(number)):
        kind = "whole number" if whole else "number"
        raise ConfigurationError(f"e3:{key}: {text!r} is not a {kind} of at least {least:g}")
    return number
