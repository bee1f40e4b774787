"""YAML as Pulumi reads it: by other rules than PyYAML (``yes`` is a word, ``1e3`` a number)."""

import json
import math
import re

import yaml


class PulumiOnlyError(Exception):
    """A value has another meaning to Pulumi than its text says."""


PulumiLoader: type[yaml.SafeLoader] = type(
    "PulumiLoader",
    (getattr(yaml, "CSafeLoader", yaml.SafeLoader),),  # in C where it is built, four times as fast
    {"yaml_implicit_resolvers": {}},
)
"""Reads YAML as Pulumi does (gopkg.in/yaml.v3)."""


def _word(loader: yaml.SafeLoader, node: yaml.Node) -> object:
    return loader.construct_scalar(node)  # type: ignore[arg-type]  # of a scalar


def _date(loader: yaml.SafeLoader, node: yaml.Node) -> object:
    raise PulumiOnlyError(loader.construct_scalar(node))  # type: ignore[arg-type]  # of a scalar


def _integer(loader: yaml.SafeLoader, node: yaml.Node) -> object:
    text = str(loader.construct_scalar(node)).replace("_", "")  # type: ignore[arg-type]
    digits = text.lstrip("+-")
    base = 10 if digits.isdecimal() else 0
    if digits.isdecimal() and digits[0] == "0" and not set(digits) & {"8", "9"}:
        base = 8
    number = int(digits, base)
    return -number if text.startswith("-") else number


def _float(loader: yaml.SafeLoader, node: yaml.Node) -> object:
    text = str(loader.construct_scalar(node))  # type: ignore[arg-type]
    number = float(text.replace("_", ""))
    return number if math.isfinite(number) else text


for kind, pattern, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0b[01_]+|0o?[0-7_]+|[0-9][0-9_]*|0x[0-9a-fA-F_]+)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+0123456789."),
    ("merge", r"<<", "<"),
    ("timestamp", r"\d{4}-\d\d?-\d\d?([Tt \t].*)?", "0123456789"),
):
    PulumiLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{kind}", re.compile(rf"(?:{pattern})\Z"), list(first)
    )
PulumiLoader.add_constructor("tag:yaml.org,2002:merge", _word)
PulumiLoader.add_constructor("tag:yaml.org,2002:int", _integer)
PulumiLoader.add_constructor("tag:yaml.org,2002:float", _float)
PulumiLoader.add_constructor("tag:yaml.org,2002:timestamp", _date)


def structure(text: str) -> object:
    """Return what a value of the configuration means that Pulumi passed on as text.

    Pulumi passes objects and lists as JSON. What was set as text, as by
    `pulumi config set e3:limits '{memory-mb: 100}'`, is YAML. Returns None for what is neither.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        found: object = yaml.load(text, PulumiLoader)  # noqa: S506 -- a SafeLoader
    except (yaml.YAMLError, PulumiOnlyError, RecursionError, TypeError, ValueError):
        return None
    return found
