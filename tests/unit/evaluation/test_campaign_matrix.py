"""A campaign's file: what follows from it, and what its mistakes are called."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from e3.errors import ConfigurationError
from e3.evaluation.campaign import entries, matrix
from e3.evaluation.campaign.cell import unsupported
from e3.overlays import OVERLAYS
from e3.preflight import Equipment

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "docs" / "schemas" / "campaign.json"
PROGRAM = {"program": "campaigns/programs/rounds.py", "args": "--openings {level}"}


@pytest.fixture(autouse=True)
def _in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def content(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 -- any value of YAML
    return {
        "name": "trial",
        "repetitions": 4,
        "overlays": {"plain": None, "plain-tls": {"overlay": "plain", "tls": True}},
        "scenarios": {
            "near": {"regions": {"ams3": 3}},
            "far": {"regions": {"ams3": 2, "sgp1": 1}, "links": {"all": {"loss": 0.01}}},
        },
        "programs": {"rounds": {**PROGRAM, "levels": [10, 100]}},
        **changes,
    }


def test_each_overlay_meets_each_scenario() -> None:
    found = matrix.parse(content(), "trial.yaml")
    assert [cell.id for cell in found.cells] == [
        "plain/near", "plain/far", "plain-tls/near", "plain-tls/far",
    ]  # fmt: skip
    assert [program.id for program in found.programs] == ["rounds-10", "rounds-100"]
    assert found.programs[1].args == ["--openings", "100"]
    experiment = found.cells[2].experiment()
    assert experiment.stack == "campaign_trial_plain-tls_near"
    assert experiment.session.rules.tls
    assert experiment.overlay.name == "plain"


def test_the_seed_decides_the_order_and_every_round_has_each_program_once() -> None:
    first, again = matrix.parse(content(), "a"), matrix.parse(content(), "a")
    assert [cell.id for cell in first.shuffled()] == [cell.id for cell in again.shuffled()]
    work = first.work(first.cells[0])
    assert work == again.work(again.cells[0])
    for number in range(4):
        part = work[2 * number : 2 * number + 2]
        assert Counter(it.program.id for it in part) == {"rounds-10": 1, "rounds-100": 1}
        assert {it.repetition for it in part} == {number}
    orders = {
        tuple(it.program.id for it in other.work(other.cells[0]))
        for other in (matrix.parse(content(seed=seed), "a") for seed in range(8))
    }
    assert len(orders) > 1


def test_the_digest_is_of_what_decides() -> None:
    known = matrix.parse(content(), "a").digest
    turned = dict(reversed(content().items()))
    assert matrix.parse(turned, "b").digest == known
    assert matrix.parse(content(seed=2), "a").digest != known


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "Trial!"}, "trial.yaml: name: .*regex"),
        ({"colour": 1}, "trial.yaml: colour: unknown key; choose one of name, about, seed"),
        ({"repetitions": 0}, "trial.yaml: repetitions: Expected `int` >= 1"),
        ({"measure": {"echo": 3}}, "trial.yaml: measure.echo: unknown key"),
        ({"overlays": {}}, "trial.yaml: overlays: .*length >= 1"),
        ({"overlays": {"plain": {"tsl": True}}},
         "trial.yaml: overlays.plain: tsl: unknown key; choose one of overlay, options, tls"),
        ({"overlays": {"nebulla": None}}, "unknown value 'nebulla'; choose one of didcomm"),
        ({"overlays": {"nebula": {"options": {"colour": 1}}}}, "overlays.nebula: .*colour"),
        ({"scenarios": {"near": {"regions": {"ams3": 0}}}}, "scenarios.near: e3:regions: ams3 has"),
        ({"scenarios": {"near": {}}}, "scenarios.near: .*regions"),
        ({"scenarios": {"near": {"regions": {"ams3": 2}, "links": {"nyc3": {}}}}},
         "scenarios.near.links: 'nyc3' is neither all nor two of ams3"),
        ({"scenarios": {"near": {"regions": {"ams3": 2}, "links": {"all": {"loss": 2}}}}},
         "scenarios.near: links.loss: Expected `float` <= 1"),
        ({"scenarios": {"near": {"regions": {"ams3": 2}, "processors": {"ams3-2": 0.5}}}},
         "scenarios.near.processors: there is no host ams3-2; choose of ams3-0, ams3-1"),
        ({"scenarios": {"near": {"regions": {"ams3": 2}, "processors": {"ams3-0": 0}}}},
         "scenarios.near: processors: Expected `float` >= 0.01"),
        ({"scenarios": {"near": {"regions": {"ams3": 2}, "fleet": "digitalocean",
                                 "processors": {"ams3-0": 0.5}}}},
         "scenarios.near.processors: only a lab's hosts can be made slow"),
        ({"programs": {"rounds": {**PROGRAM}}}, "levels and {level} in args belong together"),
        ({"programs": {"rounds": {**PROGRAM, "levels": [1, 1]}}}, "stands there twice"),
        ({"programs": {"x": {"program": "none.py"}}}, "programs.x: .*none.py"),
        ({"programs": {"x": {"program": "demos/helloworld.py", "parties": 9}}},
         "programs.x.parties: 9 parties need as many hosts"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key_and_a_remedy(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        matrix.parse(content(**changes), "trial.yaml")


@pytest.mark.parametrize("text", ["[1]", "a: [", "", "{{", "? [x]\n: y", "name: &a [*a]"])
def test_what_is_no_campaign_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "campaign.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        matrix.read(path)


def test_what_an_overlay_cannot_do_is_unsupported() -> None:
    hidden = {"regions": {"ams3": 3}, "nats": {"ams3": "symmetric"}}
    found = matrix.parse(
        content(overlays={"plain": None, "tailscale": None}, scenarios={"hidden": hidden}), "a"
    )
    reasons = {cell.overlay.id: unsupported(cell) for cell in found.cells}
    assert "at most one host" in str(reasons["plain"])
    assert "needs a tailnet" in str(reasons["tailscale"])


@pytest.mark.parametrize("path", sorted((ROOT / "campaigns").glob("*.yaml")), ids=lambda p: p.name)
def test_the_campaigns_that_come_with_e3_are_right(path: Path) -> None:
    assert matrix.read(path).file.name == path.stem


def test_the_campaign_over_every_overlay_has_every_overlay() -> None:
    asked = matrix.read(ROOT / "campaigns/overlays.yaml")
    assert {cell.overlay.overlay for cell in asked.cells} == set(OVERLAYS)


def test_what_set_up_has_not_built_as_nobody_asked_for_it_is_unsupported() -> None:
    (cell,) = matrix.parse(
        content(overlays={"iroh": None}, scenarios={"near": {"regions": {"ams3": 2}}}), "a"
    ).cells
    told = unsupported(cell)
    if Equipment().left_out(OVERLAYS["iroh"].needs):
        assert told == "iroh needs a program that is not here; `scripts/setup iroh` builds it"
    else:
        assert told is None


def test_who_cannot_make_a_host_slow_runs_the_other_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    near = {"regions": {"ams3": 2}}
    asked = matrix.parse(
        content(scenarios={"near": near, "slow": {**near, "processors": {"ams3-0": 0.5}}}), "a"
    )
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    told = {cell.id: unsupported(cell) for cell in asked.cells if cell.overlay.id == "plain"}
    assert told["plain/near"] is None
    assert "and root; run the lab as root" in str(told["plain/slow"])


def test_the_schema_file_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA.read_text()) == entries.json_schema()


def limited(**limits: object) -> dict[str, Any]:
    return content(
        scenarios={
            "near": {"regions": {"ams3": 3}},
            "far": {"regions": {"ams3": 2, "sgp1": 1}, **limits},
        }
    )


def test_a_scenario_can_be_limited_to_some_overlays_and_programs() -> None:
    found = matrix.parse(limited(overlays=["plain"], programs=["rounds-100"]), "trial.yaml")
    assert [cell.id for cell in found.cells] == ["plain/near", "plain/far", "plain-tls/near"]
    near, far, _ = found.cells
    assert [program.id for program in found.programs_of(near)] == ["rounds-10", "rounds-100"]
    assert [work.program.id for work in found.work(far)] == ["rounds-100"] * 4
    whole = matrix.parse(limited(programs=["rounds"]), "trial.yaml")
    assert len(whole.programs_of(whole.cells[1])) == 2  # a name stands for all its levels


@pytest.mark.parametrize(
    ("names", "cells"),
    [
        ([], ["plain/near", "plain/far", "plain-tls/near", "plain-tls/far"]),
        (["plain"], ["plain/near", "plain/far"]),
        (["far", "plain/near"], ["plain/near", "plain/far", "plain-tls/far"]),
    ],
)
def test_cells_are_chosen_by_overlay_scenario_or_name(names: list[str], cells: list[str]) -> None:
    asked = matrix.parse(limited(), "trial.yaml")
    found = asked.only(names)
    assert [cell.id for cell in found.cells] == cells
    assert (found.digest, found.file) == (asked.digest, asked.file)
    assert set(cells) == {cell.id for cell in found.shuffled()}
    with pytest.raises(ConfigurationError, match="--only tor: the campaign has no such cell"):
        asked.only([*names, "tor"])


def test_what_nobody_asks_for_does_not_change_the_digest() -> None:
    plain = matrix.parse(limited(), "trial.yaml").digest
    assert matrix.parse(limited(processors={}), "trial.yaml").digest == plain
    assert matrix.parse(limited(processors={"sgp1-0": 0.5}), "trial.yaml").digest != plain


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"overlays": ["tor"]}, "scenarios.far.overlays: the campaign has no overlay tor"),
        ({"programs": ["sum"]}, "no program sum; choose of rounds, rounds-10, rounds-100"),
    ],
)
def test_limits_that_the_campaign_does_not_have_are_named(
    limits: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        matrix.parse(limited(**limits), "trial.yaml")
