"""Each verb has ``--json``, and prints what docs/schemas/cli.json says."""

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3 import pulumi_state
from e3.cli import schemas, show
from e3.cli.__main__ import command_line
from tests.commands import Command, private
from tests.schemas import conforming
from tests.stack import ROOT

STATES = Path(__file__).parents[2] / "states"


def leaves(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, set[str]]]:
    """Yield each verb with its options."""
    below = [it for it in parser._actions if isinstance(it, argparse._SubParsersAction)]  # noqa: SLF001
    if not below:
        yield name, {option for action in parser._actions for option in action.option_strings}  # noqa: SLF001
    for action in below:
        for word, verb in action.choices.items():
            yield from leaves(verb, f"{name} {word}".strip())


LEAVES = dict(leaves(command_line()))


@pytest.fixture(scope="module")
def e3(tmp_path_factory: pytest.TempPathFactory) -> Command:
    folder = tmp_path_factory.mktemp("schemas")
    shutil.copytree(ROOT / "demos", folder / "demos")
    return private(folder)


@pytest.mark.parametrize("verb", LEAVES)
def test_every_verb_has_json_a_schema_and_a_line_of_its_page(verb: str) -> None:
    assert "--json" in LEAVES[verb]
    assert verb in schemas.VERBS
    assert f"`{verb}`" in (ROOT / "docs/json.md").read_text()


def test_no_schema_is_of_a_verb_that_is_gone() -> None:
    assert {name.partition(" --")[0] for name in schemas.VERBS} == set(LEAVES)


def test_the_published_schema_is_that_of_the_code() -> None:
    published = json.loads((ROOT / "docs/schemas/cli.json").read_text())
    remedy = "python -m e3.cli.schemas > docs/schemas/cli.json"
    assert published == json.loads(json.dumps(schemas.json_schema())), remedy


@pytest.mark.parametrize("overlay", ["nebula", "tinc", "wireguard"])
def test_a_stack_that_is_shown_conforms(overlay: str) -> None:
    known = show.describe(pulumi_state.read(STATES / f"{overlay}.json"))
    conforming("show", json.dumps(known))


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("runs", "runs"),
        ("doctor", "doctor --state"),
        ("verify-gone", "verify-gone"),
        ("inventory import", "inventory import hosts"),
        ("results schema", "results schema"),
        ("results check", "results check hosts"),
        ("campaign run --dry-run", "campaign run campaign.yaml --dry-run"),
        ("completion", "completion fish"),
    ],
)
def test_what_a_verb_prints_conforms(e3: Command, verb: str, words: str) -> None:
    (e3.folder / "hosts").write_text("[ams3]\n198.18.0.7 ansible_user=pi\n")
    (e3.folder / "campaign.yaml").write_text(
        (ROOT / "campaigns/small.yaml")
        .read_text()
        .replace("campaigns/programs", f"{ROOT}/campaigns/programs")
    )
    done = e3(*words.split(), "--json")
    assert done.returncode in {0, 1}, done.stderr
    conforming(verb, done.stdout)


def test_the_help_says_what_e3_is_for_and_what_to_do_first(e3: Command) -> None:
    text = e3("--help").stdout
    for part in ("fast, safe, private", "make up", "e3 run demos/", "e3 paths", "docs/json.md"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100
