"""Where packages are that somebody installed on a host as editable (pip's option -e).

Some put their folder into ``sys.path``; others have a finder of their own in `sys.meta_path`, which
keeps a table of modules and paths. A confined program must see those paths.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import all_suffixes
from pathlib import Path

TABLES = ("MAPPING", "NAMESPACES", "_redirections")
"""Of setuptools, in the finder's module; and of the package editables, in the finder's class."""


def editables() -> Iterator[str]:
    """Yield the files and folders to which the finders of editable packages lead."""
    for finder in sys.meta_path:
        module = sys.modules.get(str(getattr(finder, "__module__", "")))
        for name in TABLES:
            for owner in (finder, module):
                table = getattr(owner, name, None)
                yield from paths(table) if isinstance(table, Mapping) else ()


def paths(table: Mapping[object, object]) -> Iterator[str]:
    """Yield the paths in a table that exist; a module's may lack its ending."""
    for value in table.values():
        for path in value if isinstance(value, list) else [value]:
            if not isinstance(path, str) or not Path(path).is_absolute():
                continue
            if Path(path).name == "__init__.py":
                path = str(Path(path).parent)  # noqa: PLW2901 -- the whole package
            places = (path, *(path + suffix for suffix in all_suffixes()))
            yield from (place for place in places if Path(place).exists())
