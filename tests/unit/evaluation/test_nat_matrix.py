"""The expectations of the NAT matrix are complete, and its page shows what differs."""

import io
from itertools import combinations_with_replacement

import pytest
from rich.console import Console

from e3 import nats, reachability
from e3.errors import ConfigurationError
from e3.evaluation.nat_matrix import CLASSES, Cell, Matrix, Observation, Rule, cell_of, load
from e3.evaluation.nat_report import page, table
from e3.overlays import OVERLAYS
from e3.paths import PairPath, PathClass

MEASURED = [name for name, make in OVERLAYS.items() if make().needs.account is None]
MATRIX = Matrix(
    overlay="nebula",
    connect_seconds=0.5,
    cells=[
        Cell(
            kinds=("public", "cgnat"),
            found=("direct",),
            expected="direct",
            because="it dials",
            at_times=("relayed",),
        ),
        Cell(
            kinds=("symmetric", "symmetric"),
            found=("direct", "relayed"),
            expected="relayed",
            because="<ports>",
            by=("core-0",),
            rtt_ms=20.4,
        ),
    ],
)


@pytest.mark.parametrize("name", MEASURED)
def test_every_pair_of_classes_has_an_expectation_with_a_reason(name: str) -> None:
    expected = load()
    decides = []
    for kinds in combinations_with_replacement(CLASSES, 2):
        rule = expected.of(name, kinds)
        assert rule.because
        assert expected.of(name, (kinds[1], kinds[0])) == rule
        decides.append(rule)
    rules = expected.overlays[name]
    assert [rule for rule in rules if rules.count(rule) > 1 or rule not in decides] == []


@pytest.mark.parametrize("name", MEASURED)
def test_unsupported_is_what_the_overlay_declares(name: str) -> None:
    needs, expected = reachability.needs_of(OVERLAYS[name]()), load()
    for kind in CLASSES:
        behind = nats.NAMED[kind]
        own = behind.reachability if behind else "public"
        refused = reachability.shortfall(name, needs, {"a-0": "public", "b-0": own}) is not None
        assert (expected.of(name, ("public", kind)).path == "unsupported") == refused


def test_an_overlay_without_a_rule_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"pigeon has no rule for public and cgnat; add"):
        load().of("pigeon", ("public", "cgnat"))


def test_a_pair_has_the_path_that_it_had_most_of_the_time() -> None:
    usual = {pair: path(*pair, "direct") for pair in (("a-0", "b-0"), ("b-0", "a-0"))}
    once = {**usual, ("a-0", "b-0"): path("a-0", "b-0", "relayed", by="core-0")}
    silent = {("b-0", "a-0"): usual["b-0", "a-0"]}
    rule = Rule(pair=("a", "b"), path="direct", because="it dials")
    for looks, found, at_times in (
        ([usual, once, usual], ("direct",), ("relayed",)),
        ([once, usual, once], ("direct", "relayed"), ()),
        ([usual, silent, usual], ("direct",), ("none",)),
        ([silent], ("direct", "none"), ()),
    ):
        seen = Observation(1.0, looks, {})
        cell = cell_of(("a", "b"), rule, {"a-0": "a", "b-0": "b"}, seen)
        assert (cell.found, cell.at_times) == (found, at_times)
        assert cell.as_expected == (found == ("direct",))
        assert cell.by == (("core-0",) if "relayed" in found else ())


def path(source: str, target: str, kind: PathClass, by: str = "") -> PairPath:
    return PairPath(source=source, target=target, path_class=kind, by=by, rtt_ms=10.0)


def test_the_table_marks_what_is_not_as_expected() -> None:
    assert [cell.kinds[0] for cell in MATRIX.surprises] == ["symmetric"]
    text = io.StringIO()
    Console(file=text, width=120, markup=False).print(table(MATRIX))
    assert "[" not in text.getvalue()
    assert "direct/relayed !" in text.getvalue()
    assert "1 of 2 pairs differ; joined in 0.5 s" in text.getvalue()


def test_the_page_says_all_of_it() -> None:
    text = page([MATRIX], {"tinc": "tincd <is> missing"}, 10.0)
    assert '"it dials">direct<small>at times relayed</small></td>' in text
    assert '<td class="direct surprise" title="&lt;ports&gt;">direct/relayed' in text
    assert "<small>20 ms</small><small>by core-0</small>" in text
    assert "Not measured: tincd &lt;is&gt; missing" in text
