"""The packages that a program asks for: a layer of its own, before those of the host.

The deployer has a layer made before the session (`e3.session.packages`). What is in it is checked
by its party, and compared by all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import site
import sys
from pathlib import Path

from e3.remote.text import printable

SITE, CONTENTS = "site", "contents.json"
"""In a layer: its packages, and what they are."""

CONTENTS_BYTES = 1 << 20
INSTALLED = re.compile(r"(.+?)-([^-]+)\.dist-info")


def add(layer: str) -> str:
    """Let imports find the layer's packages before the host's; return why they cannot be used.

    No code of a package runs: this is before the program is confined.
    """
    if not layer:
        return ""
    try:
        known = contents(layer)["packages"]
        here = found(f"{layer}/{SITE}")
    except (OSError, ValueError, LookupError) as error:
        return f"its packages in {printable(layer)} cannot be read ({printable(error)})"
    if here != known:
        return f"its packages in {printable(layer)} were changed; remove that folder"
    sys.path.insert(position(), f"{layer}/{SITE}")
    with contextlib.suppress(OSError):  # the deployer's own is read-only
        os.utime(layer)
    return ""


def position() -> int:
    """Return where packages come in ``sys.path``: after Python's own modules."""
    for place, path in enumerate(sys.path):
        if Path(path).name in {"site-packages", "dist-packages"}:
            return place
    return len(sys.path)


def stated(layer: str) -> str | None:
    """Return what the parties compare; None without packages."""
    return str(contents(layer)["stated"]) if layer else None


def enter(layer: str) -> None:
    """Do in the program's process what Python does when it starts with these packages.

    Their ``.pth`` files count, and the processes that the program starts find them as well.
    """
    if not layer:
        return
    packages = f"{layer}/{SITE}"
    before = [*sys.path]
    site.addsitedir(packages)
    added = [path for path in sys.path if path not in before]
    at = before.index(packages) + 1
    sys.path[:] = [*before[:at], *added, *before[at:]]
    os.environ["PYTHONPATH"] = os.pathsep.join([packages, *added])
    let_children_read_it()


def let_children_read_it() -> None:
    """Start children without the option -I of the runner, by which they would ignore that variable.

    multiprocessing, and joblib like it, give children the options of their own interpreter.
    """
    import subprocess  # noqa: PLC0415 -- takes a while to load, and only these programs need it

    options = subprocess._args_from_interpreter_flags  # type: ignore[attr-defined]  # noqa: SLF001

    def without_isolation() -> list[str]:
        return [option for option in options() if option != "-I"]

    subprocess._args_from_interpreter_flags = without_isolation  # type: ignore[attr-defined]  # noqa: SLF001


def contents(layer: str) -> dict[str, object]:
    """Return what a layer says of itself."""
    with Path(layer, CONTENTS).open("rb") as file:
        known = json.loads(file.read(CONTENTS_BYTES))
    if not isinstance(known, dict):
        raise TypeError(CONTENTS)
    return known


def found(packages: str) -> dict[str, str]:
    """Return the packages in a folder by their normalised names, with their versions."""
    names = (INSTALLED.fullmatch(name) for name in os.listdir(packages))  # noqa: PTH208 -- names
    return {re.sub(r"[-_.]+", "-", each[1]).lower(): each[2] for each in names if each}
