"""What a stack's configuration says of its session: TLS, and what one party alone is told."""

import pytest

from e3.config import parse
from e3.errors import ConfigurationError, ProgramError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("false", False)])
def test_tls_is_asked_for(text: str, value: bool) -> None:  # noqa: FBT001 -- a case
    assert parse("dev", {"tls": text}).session.rules.tls is value
    assert parse("dev", {}).session.rules.tls is False


def test_tls_is_a_boolean() -> None:
    with pytest.raises(ConfigurationError, match="e3:tls: 'yes' is neither true nor false"):
        parse("dev", {"tls": "yes"})


def test_output_files_stay_on_their_host_if_asked() -> None:
    assert parse("dev", {}).session.rules.outputs == "evidence"
    assert parse("dev", {"outputs": "private"}).session.rules.outputs == "private"
    with pytest.raises(ConfigurationError, match="e3:outputs: unknown value 'none'; choose one"):
        parse("dev", {"outputs": "none"})


def test_private_arguments_by_host() -> None:
    experiment = parse("dev", {"private-args": '{"ams3-0": "--bid 310", "sgp1-0": 7}'})
    assert experiment.session.private_args == {"ams3-0": ("--bid", "310"), "sgp1-0": ("7",)}
    assert "310" not in repr(experiment)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"mars-0": "--bid 310"}', "there is no host 'mars-0'; choose one of ams3-0, "),
        ('{"ams3-0": ["--bid"]}', "the arguments of ams3-0 must be a string"),
        ('{"ams3-0": "--bid \'310"}', "the arguments of ams3-0 cannot be split"),
    ],
)
def test_private_arguments_that_are_none(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as error:
        parse("dev", {"private-args": text})
    assert "310" not in str(error.value)


def test_private_arguments_cannot_move_a_party() -> None:
    with pytest.raises(ProgramError, match="private-args of ams3-0: leave out the argument '-I1'"):
        parse("dev", {"private-args": '{"ams3-0": "-I1"}'})


@pytest.mark.parametrize("text", ['{"memory-mb": 100}', "{memory-mb: 100}", "memory-mb: 1e2\n"])
def test_objects_are_json_or_yaml(text: str) -> None:
    assert parse("dev", {"limits": text}).session.rules.limits.memory_mb == 100


@pytest.mark.parametrize("text", ['["a.B"]', "[a.B]", "- a.B"])
def test_lists_are_json_or_yaml(text: str) -> None:
    assert parse("dev", {"unpickle": text}).session.rules.unpickle == ("a.B",)


@pytest.mark.parametrize(
    "text", ["x", "{", "[a]", "{1: 2}", "2026-11-27", "!!python/name:os.x", "["]
)
def test_what_is_no_mapping_says_what_to_type(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"pulumi config set --path \'e3:limits\.NAME\'"):
        parse("dev", {"limits": text})


def test_private_arguments_that_are_no_mapping_are_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="its value is not a mapping") as error:
        parse("dev", {"private-args": "--bid 310"})
    assert "310" not in str(error.value)
