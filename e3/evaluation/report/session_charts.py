"""Charts of sessions: how long they took, and what of it is waiting."""

from collections.abc import Sequence

import numpy as np

from e3.evaluation.report import model
from e3.evaluation.report.criteria import Comparisons
from e3.evaluation.report.study import Study, Values
from e3.evaluation.report.vegalite import (
    FEWEST_POINTS,
    MOST_POINTS,
    Chart,
    Spec,
    base,
    chosen,
    colour,
    digits,
    order,
    shape,
    tips,
)
from e3.evaluation.results import CampaignRecord, ScenarioChoice

SURE, UNSURE = "different", "not told apart"


def slowdown(study: Study, ratios: Comparisons) -> Chart | None:
    """Return how many times slower than the baseline, by scenario and overlay."""
    rows = [
        {
            "overlay": overlay,
            "scenario": scenario,
            "program": program,
            "ratio": digits(ratio.value),
            "low": None if ratio.low is None else digits(ratio.low),
            "high": None if ratio.high is None else digits(ratio.high),
            "sure": SURE if ratio.marked else UNSURE,
        }
        for (overlay, scenario, program), ratio in ratios.items()
    ]
    if not rows:
        return None
    overlays = [o.id for o in study.campaign.overlays if o.id in {row["overlay"] for row in rows}]
    y = _scenarios(study.campaign)
    offset = {"field": "overlay", "scale": {"domain": overlays}}
    x: Spec = {
        "title": "× plain",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, "padding": 12},
    }
    painted = colour(study.campaign, overlays)
    drawn: Spec = {
        "y": y,
        "yOffset": offset,
        "x": {**x, "field": "ratio"},
        "color": painted,
        "shape": shape(study.campaign, overlays),
        "tooltip": tips("overlay", "scenario", "program", "ratio", "low", "high", "sure"),
    }
    layers: list[Spec] = [
        {"mark": {"type": "rule", "color": "var(--ink)"}, "encoding": {"x": {"datum": 1}}},
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {
                "y": y,
                "yOffset": offset,
                "x": {**x, "field": "low"},
                "x2": {"field": "high"},
                "color": painted,
            },
        },
        {
            "mark": {"type": "point", "size": 70, "filled": True},
            "encoding": {
                **drawn,
                "opacity": {
                    "condition": {"test": f"datum.sure === '{SURE}'", "value": 1},
                    "value": 0.4,
                },
            },
        },
    ]
    spec = chosen(study.campaign, rows, layers, by=("program",))
    places = {row["scenario"] for row in rows}
    spec["height"] = len(places) * (len(overlays) * max(10, 16 - len(overlays)) + 12)
    return Chart(
        name="slowdown",
        title="How many times slower than plain",
        about="For each scenario a point per overlay: the median online time divided by that of "
        "plain, with its 95 % interval. Full points are differences that the correction for many "
        "comparisons leaves standing; faint ones are not told apart.",
        spec=spec,
    )


def distribution(study: Study) -> Chart | None:
    """Return every repetition's online time, with quartiles."""
    samples = [
        (cell.overlay.id, cell.scenario.id, program, values)
        for (name, program), runs in study.runs.items()
        if (cell := study.cells[name]) and len(values := runs.values("online_seconds"))
    ]
    if not samples:
        return None
    most = max(FEWEST_POINTS, MOST_POINTS // len(samples))
    rows = [
        {"overlay": overlay, "scenario": scenario, "program": program, "seconds": digits(value)}
        for overlay, scenario, program, values in samples
        for value in _drawn(values, most)
    ]
    y = {"field": "overlay", "type": "nominal", "title": None, "sort": order(study.campaign)}
    x = {
        "field": "seconds",
        "type": "quantitative",
        "title": "online time, s",
        "scale": {"zero": False},
    }
    layers = [
        {
            "mark": {
                "type": "boxplot",
                "extent": "min-max",
                "size": 12,
                "box": {"fill": "var(--soft)", "stroke": "var(--quiet)"},
                "median": {"color": "var(--ink)", "strokeWidth": 2},
                "rule": {"color": "var(--quiet)"},
                "ticks": {"color": "var(--quiet)"},
            },
            "encoding": {"y": y, "x": {**x, "title": "online time, s"}},
        },
        {
            "mark": {"type": "point", "size": 26, "opacity": 0.75, "filled": True},
            "encoding": {
                "y": y,
                "x": x,
                "color": {**colour(study.campaign), "legend": None},
                "shape": {**shape(study.campaign), "legend": None},
                "tooltip": tips("overlay", "seconds"),
            },
        },
    ]
    return Chart(
        name="distribution",
        title="Every repetition",
        about="A point for each completed repetition's online time, with quartiles, median and "
        "range.",
        spec=chosen(study.campaign, rows, layers, by=("program", "scenario")),
    )


def parts(study: Study) -> Chart | None:
    """Return where the time goes, as stacked bars with the measured time."""
    start = model.start_seconds(study)
    rows: list[Spec] = []
    for (name, program), runs in study.runs.items():
        cell = study.cells[name]
        of = model.parts(study, name, runs, start)
        if of is None or of.rest_seconds is None:
            continue
        where: Spec = {"overlay": cell.overlay.id, "scenario": cell.scenario.id, "program": program}
        seconds = {
            "rounds": of.rounds_seconds,
            "bytes": of.bytes_seconds,
            "compute": of.compute_seconds,
        }
        for place, (part, value) in enumerate(seconds.items()):
            told: Spec = {"part": part, "order": place, "seconds": digits(value or 0.0)}
            rows.append({**where, **told, "measured": digits(of.online_seconds)})
    if not rows:
        return None
    y = {"field": "overlay", "type": "nominal", "title": None, "sort": order(study.campaign)}
    layers: list[Spec] = [
        {
            "mark": {"type": "bar", "stroke": "var(--page)", "strokeWidth": 1},
            "encoding": {
                "y": y,
                "x": {"field": "seconds", "type": "quantitative", "title": "seconds"},
                "order": {"field": "order"},
                "color": {
                    "field": "part",
                    "scale": {
                        "domain": ["rounds", "bytes", "compute"],
                        "range": ["var(--s1)", "var(--s2)", "var(--s4)"],
                    },
                    "title": None,
                    "legend": {"orient": "top"},
                },
                "tooltip": tips("overlay", "part", "seconds", "measured"),
            },
        },
        {
            "transform": [{"filter": "datum.part === 'rounds'"}],
            "mark": {"type": "tick", "color": "var(--ink)", "thickness": 3, "size": 20},
            "encoding": {"y": y, "x": {"field": "measured", "type": "quantitative"}},
        },
    ]
    return Chart(
        name="parts",
        title="What rounds, bytes and computation would take, and what was measured",
        about="Bars are what a session would take if all parties moved in step; the black mark is "
        "the measured median. A mark left of the bar's end is time that MPyC hides by not waiting.",
        spec=chosen(study.campaign, rows, layers, by=("program", "scenario")),
    )


def sweep(study: Study) -> Chart | None:
    """Return online time over the slowest round trip of the bare network, by loss.

    A line joins scenarios that differ in distance alone. The dashed one is that of parties in step.
    """
    rows: list[Spec] = []
    for (name, program), runs in study.runs.items():
        cell, values = study.cells[name], runs.values("online_seconds")
        trips = cell.rtt_ms("underlay")
        if len(values) and trips:
            rows.append(
                {
                    "overlay": cell.overlay.id,
                    "scenario": cell.scenario.id,
                    "program": program,
                    "rtt": digits(max(trips.values())),
                    "seconds": digits(float(np.median(values))),
                    "loss": f"{100 * most_loss(cell.scenario):g} %",
                    "like": _like(cell.scenario),
                }
            )
    if len({row["scenario"] for row in rows}) < 2:  # noqa: PLR2004 -- a line has two ends
        return None
    encoding = {
        "x": {"field": "rtt", "type": "quantitative", "title": "slowest pair's round trip, ms"},
        "y": {"field": "seconds", "type": "quantitative", "title": "median online time, s"},
        "color": colour(study.campaign),
    }
    told = tips("overlay", "scenario", "rtt", "loss", "seconds")
    losses = sorted({row["loss"] for row in rows})
    dashes = {"field": "loss", "title": "packets lost", "legend": {"orient": "bottom"}}
    dashes["scale"] = {"domain": losses, "range": [[1, 0], [6, 3], [2, 3]][: len(losses)]}
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "opacity": 0.5},
            "encoding": {
                **encoding,
                "detail": [{"field": "like"}],
                **({"strokeDash": dashes} if len(losses) > 1 else {}),
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 60},
            "encoding": {**encoding, "shape": shape(study.campaign), "tooltip": told},
        },
    ]
    steps = _in_step(study, rows)
    if steps:
        layers.insert(0, _step_line(steps))
    spec = chosen(study.campaign, rows, layers, by=("program",))
    spec["height"] = 300
    return Chart(
        name="sweep",
        title="Online time over the round trip",
        about="Median online time of each scenario, over the round trip of its slowest pair "
        "without an overlay; lines join scenarios that differ in distance alone. The long-dashed "
        "line is rounds times half of that round trip, what parties in step would wait.",
        spec=spec,
    )


def most_loss(scenario: ScenarioChoice) -> float:
    """Return the part of packets that the worst link of a scenario loses."""
    return max((link.loss for link in scenario.links.values()), default=0.0)


def _like(scenario: ScenarioChoice) -> str:
    """Return what scenarios have in common that differ in distance alone."""
    hosts = sum(scenario.regions.values())
    rates = sorted({link.rate_mbit for link in scenario.links.values() if link.rate_mbit})
    return f"{hosts} {most_loss(scenario)} {sorted(scenario.nats.values())} {rates}"


def _in_step(study: Study, rows: Sequence[Spec]) -> list[Spec]:
    """Return the two ends of the line of parties in step, for programs that state their rounds."""
    farthest = max(row["rtt"] for row in rows)
    found: list[Spec] = []
    for program in {row["program"] for row in rows}:
        stated = [
            float(np.median(values))
            for (_, of), runs in study.runs.items()
            if of == program and len(values := runs.values("stated_rounds"))
        ]
        if stated:
            rounds = float(np.median(stated))
            found += [
                {"program": program, "rtt": rtt, "seconds": digits(rounds * rtt / 2000)}
                for rtt in (0.0, farthest)
            ]
    return sorted(found, key=lambda row: (row["program"], row["rtt"]))


def _step_line(steps: Sequence[Spec]) -> Spec:
    return {
        "data": {"values": list(steps)},
        "transform": [{"filter": "datum.program === chosen_program"}],
        "mark": {"type": "line", "color": "var(--quiet)", "strokeDash": [10, 5]},
        "encoding": {
            "x": {"field": "rtt", "type": "quantitative"},
            "y": {"field": "seconds", "type": "quantitative"},
        },
    }


def drift(study: Study) -> Chart | None:
    """Return each repetition's time, relative to its group, in the order in which they ran."""
    rows: list[Spec] = []
    groups = [runs for runs in study.runs.values() if runs.completed]
    most = max(2, MOST_POINTS // 8 // max(1, len(groups)))
    for runs in groups:
        online = np.array(runs.columns["online_seconds"])
        places = np.array(runs.columns["order"])
        middle = np.nanmedian(online) if not np.isnan(online).all() else 0.0
        if not middle > 0:
            continue
        spaced = np.linspace(0, len(online) - 1, min(len(online), most)).astype(int)
        rows.extend(
            {"order": int(places[i]), "relative": digits(float(online[i] / middle), 3)}
            for i in spaced
            if not np.isnan(online[i])
        )
    if not rows:
        return None
    spec = base(rows)
    spec["height"] = 180
    spec["encoding"] = {
        "x": {"field": "order", "type": "quantitative", "title": "repetition of the campaign"},
        "y": {
            "field": "relative",
            "type": "quantitative",
            "title": "online time ÷ its group's median",
            "scale": {"zero": False},
        },
    }
    spec["layer"] = [
        {
            "mark": {
                "type": "point",
                "size": 14,
                "filled": True,
                "opacity": 0.5,
                "color": "var(--s1)",
            },
            "encoding": {"tooltip": tips("order", "relative")},
        },
    ]
    return Chart(
        name="drift",
        title="Did the machine change while the campaign ran?",
        about="Each repetition's online time divided by the median of its overlay, scenario and "
        "program, in the order in which they ran. A slope would be drift, of which the random "
        "order lets each overlay have its share.",
        spec=spec,
    )


def _drawn(values: Values, most: int) -> Values:
    """Return the sample, or of a large one so many evenly spaced quantiles with both ends."""
    if len(values) <= most:
        return values
    return np.quantile(values, np.linspace(0, 1, most))


def _scenarios(campaign: CampaignRecord) -> Spec:
    sort = [scenario.id for scenario in campaign.scenarios]
    return {"field": "scenario", "type": "nominal", "title": None, "sort": sort}
