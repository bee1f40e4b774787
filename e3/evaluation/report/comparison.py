"""Two campaigns, cell by cell: two machines, two versions, or two hours of one."""

from collections.abc import Sequence
from dataclasses import dataclass

from e3.evaluation.report import page, statistics, vegalite
from e3.evaluation.report.statistics import FEWEST, LEVEL, Ratio, Summary, summarise
from e3.evaluation.report.study import Study
from e3.evaluation.report.vegalite import Chart


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A program in a cell of both campaigns; ``ratio`` is of the second to the first."""

    cell: str
    program: str
    first: Summary
    second: Summary
    ratio: Ratio


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two campaigns have in common, and what one of them has alone.

    ``unlike`` says of scenarios and programs of the same name how they differ, and ``states`` of
    cells that ended differently.
    """

    pairs: Sequence[Pair]
    only_first: Sequence[str]
    only_second: Sequence[str]
    unlike: Sequence[str]
    states: Sequence[tuple[str, str, str]]

    @property
    def marked(self) -> Sequence[Pair]:
        """The pairs with a difference that stands after correction."""
        return [pair for pair in self.pairs if pair.ratio.marked]


def compare(first: Study, second: Study) -> Comparison:
    """Return two campaigns cell by cell, by the names of overlays, scenarios and programs."""
    common = [key for key in first.runs if key in second.runs]
    found: list[Pair] = []
    for cell, program in common:
        one = first.runs[cell, program].values("online_seconds")
        other = second.runs[cell, program].values("online_seconds")
        before, after = summarise(one), summarise(other)
        ratio = statistics.compare(other, one)
        if before is not None and after is not None and ratio is not None:
            pair = Pair(cell=cell, program=program, first=before, second=after, ratio=ratio)
            found.append(pair)
    ratios = statistics.mark([pair.ratio for pair in found])
    return Comparison(
        pairs=[
            Pair(cell=p.cell, program=p.program, first=p.first, second=p.second, ratio=ratio)
            for p, ratio in zip(found, ratios, strict=True)
        ],
        only_first=[" ".join(key) for key in first.runs if key not in second.runs],
        only_second=[" ".join(key) for key in second.runs if key not in first.runs],
        unlike=_unlike(first, second),
        states=[
            (name, cell.state or "unfinished", second.cells[name].state or "unfinished")
            for name, cell in first.cells.items()
            if name in second.cells and cell.state != second.cells[name].state
        ],
    )


def render(first: Study, second: Study) -> str:
    """Return the page of two campaigns."""
    found = compare(first, second)
    chart = _chart(found)
    return page.document(
        "comparison.html.j2",
        {} if chart is None else {chart.name: chart},
        {
            "title": f"{first.campaign.name} and {second.campaign.name}: two campaigns, compared",
            "first": first,
            "second": second,
            "found": found,
            "same_name": first.campaign.name == second.campaign.name,
            "fewest": FEWEST,
            "level": LEVEL,
        },
    )


def _unlike(first: Study, second: Study) -> Sequence[str]:
    told: list[str] = []
    scenarios = {scenario.id: scenario for scenario in second.campaign.scenarios}
    for scenario in first.campaign.scenarios:
        other = scenarios.get(scenario.id)
        if other is not None and (
            (scenario.fleet, scenario.regions, scenario.rtt_ms, scenario.nats)
            != (other.fleet, other.regions, other.rtt_ms, other.nats)
            or (scenario.links, scenario.processors) != (other.links, other.processors)
        ):
            told.append(f"scenario {scenario.id} has other hosts or links")
    programs = {program.id: program for program in second.campaign.programs}
    for program in first.campaign.programs:
        same = programs.get(program.id)
        if same is not None and (program.digest, program.args) != (same.digest, same.args):
            told.append(f"program {program.id} has other content or arguments")
    overlays = {overlay.id: overlay for overlay in second.campaign.overlays}
    for overlay in first.campaign.overlays:
        twin = overlays.get(overlay.id)
        if twin is not None and overlay != twin:
            told.append(f"overlay {overlay.id} is another, or has other options")
    return told


def _chart(found: Comparison) -> Chart | None:
    """Return the ratios of all cells, in the order of their size."""
    if not found.pairs:
        return None
    pairs = sorted(found.pairs, key=lambda pair: pair.ratio.value)
    step = max(1, len(pairs) // vegalite.MOST_POINTS)
    rows = [
        {
            "place": place,
            "cell": f"{pair.cell} {pair.program}",
            "ratio": vegalite.digits(pair.ratio.value),
            "low": None if pair.ratio.low is None else vegalite.digits(pair.ratio.low),
            "high": None if pair.ratio.high is None else vegalite.digits(pair.ratio.high),
            "sure": "different" if pair.ratio.marked else "not told apart",
        }
        for place, pair in enumerate(pairs[::step])
    ]
    spec = vegalite.base(rows)
    spec["height"] = 280
    x = {"field": "place", "type": "quantitative", "title": "cells, in the order of their ratio"}
    y = {"type": "quantitative", "title": "second ÷ first", "scale": {"type": "log", "nice": False}}
    spec["layer"] = [
        {"mark": {"type": "rule", "color": "var(--ink)"}, "encoding": {"y": {"datum": 1}}},
        {
            "mark": {"type": "rule", "color": "var(--quiet)"},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
        },
        {
            "mark": {"type": "point", "size": 55, "filled": True},
            "encoding": {
                "x": x,
                "y": {**y, "field": "ratio"},
                "color": {
                    "field": "sure",
                    "title": None,
                    "legend": {"orient": "top"},
                    "scale": {
                        "domain": ["different", "not told apart"],
                        "range": ["var(--s3)", "var(--s1)"],
                    },
                },
                "shape": {
                    "field": "sure",
                    "scale": {
                        "domain": ["different", "not told apart"],
                        "range": ["diamond", "circle"],
                    },
                },
                "tooltip": vegalite.tips("cell", "ratio", "low", "high", "sure"),
            },
        },
    ]
    return Chart(
        name="ratios",
        title="Online time of the second campaign, divided by that of the first",
        about="A point for each cell and program, in the order of the ratio, with its 95 % "
        "interval. Diamonds are differences that the correction for many comparisons leaves "
        "standing.",
        spec=spec,
    )
