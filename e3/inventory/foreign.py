"""Reading files of unknown origin within bounds: text, YAML and JSON.

A file of a megabyte can expand to gigabytes (aliases in YAML), be nested deeper than Python's
recursion limit, or have a key twice. All of these are refused.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from e3.errors import ConfigurationError
from e3.remote.text import printable

MOST_BYTES = 1_000_000
MOST_NODES = 100_000
"""The most values of a YAML file, each counted once for every alias to it."""

MOST_DEEP = 50
SURROGATE = re.compile("[\ud800-\udfff]")


def read_text(path: Path, *, strict: bool = True) -> str:
    """Return the text of a file; without ``strict``, also where it is not UTF-8.

    Raises `ConfigurationError` if it cannot be read, is too large, or is not text.
    """
    name = str(path)
    try:
        if not path.is_file() and path.exists():
            raise ConfigurationError(f"{name} is not a file; name the list itself")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read ({error.strerror})") from None
    if len(content) > MOST_BYTES:
        raise ConfigurationError(f"{name} is larger than {MOST_BYTES} bytes; it is no list")
    try:
        text = content.decode(errors="strict" if strict else "surrogateescape")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{name}, line {line}, is not text in UTF-8; convert it (iconv), or correct it"
        ) from None
    return text.replace("\r\n", "\n")


def check_yaml(text: str) -> yaml.Node | None:
    """Return the node of a YAML text, whatever its tags; raise `yaml.YAMLError`."""
    return _Loader(text).get_single_node()


def read_yaml(text: str, name: str) -> Any:  # noqa: ANN401 -- what a file says is anything
    """Return the value of a YAML text; ``name`` is its name in errors.

    Raises `ConfigurationError`, with the line where there is one.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Measure(name).take(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigurationError(
            f"{name} is not YAML{where}: {printable(error.problem)}; correct it"
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"{name} is not YAML: {printable(error)}; correct it") from None


class _Loader(yaml.SafeLoader):
    """Stops at a depth that no list has, before Python's recursion limit."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MOST_DEEP:
            raise yaml.MarkedYAMLError(
                problem="it is nested too deep", problem_mark=self.get_mark()
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Measure:
    """Refuses a YAML document with too many values, or with a key twice."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._sizes: dict[int, int] = {}

    def take(self, node: yaml.Node) -> int:
        """Return the number of values of a node, counting an alias each time."""
        line = node.start_mark.line + 1
        known = self._sizes.get(id(node))
        if known == 0:
            raise ConfigurationError(f"{self._name}, line {line}: a value contains itself")
        if known is not None:
            return known
        self._sizes[id(node)] = 0
        if isinstance(node, yaml.ScalarNode) and SURROGATE.search(node.value):
            raise ConfigurationError(f"{self._name}, line {line}: a character is half; correct it")
        size = 1
        for child in self._children(node):
            size += self.take(child)
            if size > MOST_NODES:
                raise ConfigurationError(
                    f"{self._name}, line {line}: aliases make more than {MOST_NODES} values of "
                    "this; write out what is meant"
                )
        self._sizes[id(node)] = size
        return size

    def _children(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        if not isinstance(node, yaml.MappingNode):
            return []
        keys: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in keys:
                    raise ConfigurationError(
                        f"{self._name}, line {key.start_mark.line + 1}: "
                        f"{printable(key.value)!r} is said twice; remove one"
                    )
                keys.add((key.tag, key.value))
        return [part for pair in node.value for part in pair]
