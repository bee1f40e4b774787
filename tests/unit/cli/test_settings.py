"""A session uses the present configuration of its stack."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3 import config, settings
from e3.errors import ConfigurationError


def test_values_are_as_pulumi_hands_them_over(tmp_path: Path) -> None:
    stack = tmp_path / "Pulumi.x.yaml"
    assert config.plain(stack) == {}
    stack.write_text(
        "config:\n  e3:limits: {memory-mb: 100}\n  e3:tls: true\n  e3:parties: 2\n"
        "  e3:args: --bids 3\n  e3:private-args: {secure: v1:x}\n  other:key: 1\n"
        "encryptionsalt: v1:x\n"
    )
    values = config.plain(stack)
    assert values == {
        "limits": '{"memory-mb": 100}',
        "tls": "true",
        "parties": "2",
        "args": "--bids 3",
    }
    found = settings.settings(values)
    assert (found.parties, found.deadline_seconds) == (2, 600)
    assert found.rules.limits.memory_mb == 100


@pytest.mark.parametrize("text", ["", "config:\n", "encryptionsalt: x\n"])
def test_without_values_all_are_the_usual_ones(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert settings.settings(config.plain(tmp_path / "x.yaml")) == settings.settings({})


@pytest.mark.parametrize("text", ["- a\n", "config: 3\n", "config: {", "\x00", "config: [a]\n"])
def test_what_is_no_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"x\.yaml is not a stack configuration"):
        config.plain(tmp_path / "x.yaml")


@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_file_is_values_or_a_mistake(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "x.yaml"
    path.write_bytes(content)
    try:
        values = config.plain(path)
    except ConfigurationError:
        return
    assert all(isinstance(value, str) for value in values.values())


def test_a_mistake_names_its_key(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("config:\n  e3:limits: {memory: 100}\n")
    with pytest.raises(ConfigurationError, match="e3:limits: unknown limit 'memory'"):
        settings.settings(config.plain(tmp_path / "x.yaml"))
