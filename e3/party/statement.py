"""What a party is about to run, as it finds it on its own host.

A statement is sent to every other party, so it has nothing private, see docs/agreement.md.
`e3.party.fields` says which of its facts must be equal.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from e3.party import packages, tree
from e3.party.fields import FIELDS, VALUE_LENGTH, Value
from e3.party.frames import encodable
from e3.party.protocol import VERSION, Spec

LOCAL_OPTIONS = frozenset(
    {"parties", "index", "M", "base_port", "config"}  # compared as the list of parties
    | {"VERSION", "HELP", "help", "no_numpy", "mix32_64bit"}  # compared under other names
    | {"workers", "log_level", "no_log", "no_barrier", "no_gmpy2", "no_uvloop"}  # own affairs
    | {"output_windows", "output_file", "f"}
)
"""Options of MPyC that may differ, or are compared in another way."""


def make(spec: Spec, folder: str) -> dict[str, Value]:
    """Return the statement of the party that is to run ``spec`` from its session's ``folder``."""
    program = str(Path(folder, "program"))
    options, args = parse(mpyc_source(sys.path), spec)
    no_numpy = bool(options["no_numpy"]) or os.getenv("MPYC_NONUMPY") == "1"
    numpy = None if no_numpy else installed("numpy")
    facts: dict[str, Value] = {
        "e3": VERSION,
        "session": spec.session,
        "m": len(spec.parties),
        "overlay": spec.overlay,
        "parties": " ".join(f"{address}:{port}" for address, port in spec.parties),
        "mpyc": release(mpyc_source([program, *sys.path])),  # a program may bring its own
        "program": tree.found(program),
        "packages": packages.stated(spec.packages),
        "entry": spec.entry,
        "inputs" if spec.input_names == "same" else "own_inputs": ", ".join(spec.inputs),
        "inputs_from": spec.inputs_from,
        "args": " ".join(args),
        "labels": labels(mixed=bool(options["mix32_64bit"])),
        "arrays": numpy is not None,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "gmpy2": installed("gmpy2"),
        "numpy": numpy,
        "word_bits": sys.maxsize.bit_length() + 1,
        "byte_order": sys.byteorder,
        "threshold": (len(spec.parties) - 1) // 2,
        **compared(options),
    }
    return {name: shortened(value) for name, value in facts.items()}


class MildParser(argparse.ArgumentParser):
    """MPyC's parser, changed so that it does not exit this process."""

    def error(self, message: str) -> NoReturn:
        """Raise instead; the program itself then says what is wrong."""
        raise ValueError(message)


def mpyc_parser(source: str) -> MildParser:
    """Return MPyC's own parser.

    The function that makes it is taken out of MPyC's source, because importing mpyc would configure
    logging and much else.
    """
    parser = MildParser(add_help=False)
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == "_get_arg_parser":
            module = compile(ast.Module([node], []), "mpyc", "exec")
            scope = {"argparse": argparse}
            exec(module, scope)  # noqa: S102 -- a function of the host's own mpyc
            parser = scope["_get_arg_parser"]()  # type: ignore[operator]  # just made
            parser.__class__ = MildParser
    return parser


def parse(source: str, spec: Spec) -> tuple[dict[str, Value | list[str]], list[str]]:
    """Return MPyC's options, with those of the environment, and the program's public arguments."""
    parser = mpyc_parser(source)
    try:
        options = vars(parser.parse_known_args(spec.argv[1:])[0])
        args = parser.parse_known_args(list(spec.args))[1]
    except ValueError:
        options, args = {}, list(spec.args)
    options.setdefault("no_numpy", False)
    options.setdefault("mix32_64bit", False)
    for option, variable in (("no_prss", "MPYC_NOPRSS"), ("mix32_64bit", "MPYC_MIX32_64BIT")):
        options[option] = options.get(option) or os.getenv(variable) == "1"
    return options, args


def compared(options: Mapping[str, Value | list[str]]) -> dict[str, Value]:
    """Return the facts about MPyC's options; options unknown to E3 are joined in one fact."""
    rest = {name: value for name, value in options.items() if name not in LOCAL_OPTIONS}
    if rest.get("threshold") is None:
        rest.pop("threshold", None)  # MPyC's default
    known: dict[str, Value] = {
        name: value
        for name in FIELDS
        if name in rest and not isinstance(value := rest.pop(name), list)
    }
    known["help"] = any(options.get(name) for name in ("VERSION", "HELP", "help"))
    known["options"] = " ".join(f"{name}={rest[name]}" for name in sorted(rest)) or "none"
    return known


def labels(*, mixed: bool) -> str:
    """Return how MPyC numbers messages here: by Python's own hash of a tuple, or portably."""
    if mixed:
        return "SHA-1 (--mix32-64bit)"
    probe = hash((1, -2, 3)) & (2**64 - 1)
    return f"the {sys.maxsize.bit_length() + 1}-bit hash of {sys.implementation.name} ({probe:x})"


def release(source: str) -> str | None:
    """Return the version that a package's source states."""
    found = re.search(r"^__version__ = ['\"](.+?)['\"]", source, re.MULTILINE)
    return found.group(1) if found else None


def mpyc_source(places: Sequence[str]) -> str:
    """Return the text of the first ``mpyc/__init__.py`` in these folders, empty without one."""
    for place in places:
        path = Path(place, "mpyc", "__init__.py")
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return ""


@functools.cache
def names(place: str) -> tuple[str, ...]:
    """Return the names in a folder of ``sys.path``."""
    return tuple(path.name for path in Path(place).iterdir()) if Path(place).is_dir() else ()


def installed(package: str) -> str | None:
    """Return the version of an installed package, None without it.

    Read from the names of metadata folders: `importlib.metadata` takes 40 ms to import, and the
    package itself longer.
    """
    pattern = re.compile(rf"{package}-([^-]+).*\.(dist|egg)-info", re.IGNORECASE)
    for place in sys.path:
        for name in names(place):
            if found := pattern.fullmatch(name):
                return found.group(1)
    return None


def shortened(value: Value) -> Value:
    """Return a value as a statement has it: the digest of a text that is long or not encodable."""
    if not isinstance(value, str):
        return value
    if len(value) <= VALUE_LENGTH and encodable(value):
        return value
    # a name or an argument may be any bytes, see `os.fsdecode`
    return f"sha256:{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"
