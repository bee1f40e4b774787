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


def completed(e3: Command, line: str, folder: Path) -> list[str]:
    """Return what is offered at the end of the line, as bash would ask for it."""
    answer = folder / "answer"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    Command(folder=e3.folder, environment={**e3.environment, **asked})(cwd=folder)
    return [word.strip() for word in answer.read_text().split("\n") if word]


def test_a_shell_completes_verbs_options_stacks_runs_and_files(e3: Command, tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    store = e3.folder / ".e3/state/.pulumi/stacks/e3"
    store.mkdir(parents=True, exist_ok=True)
    for name in ("dev.json", "dev.json.bak", "lab.json.gz"):
        (store / name).write_text("")
    (e3.folder / ".e3/dev/sessions/20261127-010203-abcd").mkdir(parents=True, exist_ok=True)
    (tmp_path / "vote.py").write_text("")
    (tmp_path / "votes").mkdir()
    assert completed(e3, "e3 verify", tmp_path) == ["verify-gone"]
    assert completed(e3, "e3 run", tmp_path) == ["run", "runs"]
    assert "--parties" in completed(e3, "e3 run --p", tmp_path)
    assert completed(e3, "e3 show --stack ", tmp_path) == ["dev", "lab"]
    assert {"20261127-010203-abcd", "latest"} <= set(completed(e3, "e3 logs ", tmp_path))
    assert completed(e3, "e3 run vo", tmp_path) == ["vote.py", "votes/"]
    assert {"list", "put", "remove"} <= set(completed(e3, "e3 input ", tmp_path))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(e3: Command, shell: str) -> None:
    pytest.importorskip("argcomplete")
    script = e3("completion", shell).stdout
    assert "_ARGCOMPLETE" in script
    assert "e3" in script
