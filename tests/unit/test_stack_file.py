"""The values of a stack's files are those that Pulumi passes to the program."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3 import stack_file
from e3.errors import ConfigurationError

pytestmark = pytest.mark.unit

KEYS = ("args", "limits", "parties", "private-args", "tls", "trigger")

AS_PULUMI = {
    "010": "8",
    "08": "8",
    "0x10": "16",
    "0o17": "15",
    "0b11": "3",
    "1_000": "1000",
    "+1": "1",
    "1e3": "1000",
    "1.50": "1.5",
    ".5": "0.5",
    "4096.0": "4096",
    "1e21": "1e+21",
    "1e400": "1e400",
    "12345678901234567890": "12345678901234567890",
    "1:30": "1:30",
    "True": "true",
    "yes": "yes",
    "on": "on",
    "~": "",
    "null": "",
    '""': "",
    "'~'": "~",
    "=": "=",
    "<<": "<<",
    "[a, 1.0]": '["a", 1]',
    "{a: 1e3, 1: ~, b: No}": '{"a": 1000, "1": null, "b": "No"}',
}
"""YAML, and what `pulumi config --json` of version 3.259 says of it."""


def never() -> Mapping[str, str]:
    raise AssertionError("Pulumi is asked")


def read(folder: Path, text: str) -> Mapping[str, str]:
    (folder / "Pulumi.x.yaml").write_text(text)
    return stack_file.read(folder, "x", KEYS, never)


@pytest.mark.parametrize("text", AS_PULUMI)
def test_a_value_is_what_pulumi_makes_of_it(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, f"config:\n  e3:args: {text}\n")
    assert found == {"args": AS_PULUMI[text]}


def test_values_are_as_pulumi_hands_them_over(tmp_path: Path) -> None:
    assert stack_file.read(tmp_path, "x", KEYS, never) == {}
    values = read(
        tmp_path,
        "config:\n  e3:limits: {memory-mb: 100}\n  e3:tls: true\n  e3:parties: 2\n"
        "  e3:args: --bids 3\n  e3:overlay-options: {secure: v1:x}\n  other:key: 1\n"
        "encryptionsalt: v1:x\n",
    )
    assert values == {
        "limits": '{"memory-mb": 100}',
        "tls": "true",
        "parties": "2",
        "args": "--bids 3",
    }


def test_the_project_has_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text(
        "name: e3\nconfig:\n  e3:parties: {type: integer, default: 3}\n  e3:args: {value: -n}\n"
        "  e3:trigger: plain\n  e3:limits: {type: object}\n"
    )
    values = read(tmp_path, "config: {e3:args: -m}\n")
    assert values == {"parties": "3", "args": "-m", "trigger": "plain"}


@pytest.mark.parametrize(
    "text",
    [
        "{e3:private-args: {secure: v1:x}}",
        "{e3:private-args: {ams3-0: {secure: v1:x}}}",
        "{e3:args: [{secure: v1:x}]}",
        "{e3:trigger: 2026-11-27}",
        "{e3:trigger: 2026-11-27T10:00:00Z}",
    ],
)
def test_pulumi_is_asked_for_what_only_it_can_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "Pulumi.x.yaml").write_text(f"config: {text}\n")
    known = {"e3:args": "-n", "e3:parties": "0", "e3:overlay": "tor"}
    assert stack_file.read(tmp_path, "x", KEYS, lambda: known) == {"args": "-n", "parties": "0"}


@pytest.mark.parametrize("text", ["- a\n", "config: 3\n", "config: {", "\x00", "config: [a]\n"])
def test_what_is_no_configuration_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"x\.yaml is not a stack configuration"):
        read(tmp_path, text)


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_file_is_values_or_a_mistake(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "Pulumi.x.yaml").write_bytes(content)
    try:
        values = stack_file.read(folder, "x", KEYS, dict)
    except ConfigurationError:
        return
    assert all(isinstance(value, str) for value in values.values())


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(value=VALUES)
def test_a_value_that_is_no_text_becomes_json(value: object) -> None:
    text = stack_file.text(value)
    if value is None or isinstance(value, str):
        assert text == (value or "")
    else:
        assert json.loads(text) == value
