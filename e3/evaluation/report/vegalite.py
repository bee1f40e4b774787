"""What the charts have in common, as Vega-Lite specifications; colours are the page's variables.

So one chart serves light, dark and print. An overlay has the same colour and shape everywhere; what
colour tells, position, shape or text tell as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from e3.evaluation.results import CampaignRecord

Spec = dict[str, Any]

MOST_POINTS = 24_000
FEWEST_POINTS = 12
"""Points drawn of a sample if it has that many, however many samples there are."""

COLOURS = 8
SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
ROW = 22
NARROW = 330
"""Pixels that a chart has on a phone, where a legend of more columns would be cut off."""

MEGA = 1e6


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart, what it shows in a sentence for who cannot see it, and its specification."""

    name: str
    title: str
    about: str
    spec: Spec


def digits(value: float, number: int = 4) -> float:
    """Return a number rounded to so many significant digits: a page need not carry more."""
    return float(f"{value:.{number}g}")


def base(rows: Sequence[Spec]) -> Spec:
    """Return the parts that all charts have in common."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": "container",
        "data": {"values": list(rows)},
    }


def chosen(
    campaign: CampaignRecord, rows: Sequence[Spec], layers: Sequence[Spec], by: Sequence[str]
) -> Spec:
    """Return a chart of one program, or of one program in one scenario, that the reader chooses."""
    spec = base(rows)
    every = {
        "program": [program.id for program in campaign.programs],
        "scenario": [scenario.id for scenario in campaign.scenarios],
    }
    spec["params"] = []
    for key in by:
        known = {row[key] for row in rows}
        options = [name for name in every[key] if name in known]
        bind = {"input": "select", "options": options, "name": f"{key} "}
        spec["params"].append({"name": f"chosen_{key}", "value": options[0], "bind": bind})
    spec["transform"] = [{"filter": f"datum.{key} === chosen_{key}"} for key in by]
    spec["height"] = ROW * len({row["overlay"] for row in rows})
    spec["layer"] = list(layers)
    return spec


def order(campaign: CampaignRecord) -> list[str]:
    """Return the overlays in the order in which every chart has them."""
    return [overlay.id for overlay in campaign.overlays]


def colour(campaign: CampaignRecord, shown: Sequence[str] | None = None) -> Spec:
    """Return the colour of an overlay, with a legend."""
    names = order(campaign)
    domain = [name for name in names if shown is None or name in shown]
    return {
        "field": "overlay",
        "title": None,
        "scale": {
            "domain": domain,
            "range": [f"var(--s{names.index(name) % COLOURS})" for name in domain],
        },
        "legend": {"orient": "top", "columns": {"expr": f"width < {NARROW} ? 2 : 4"}},
    }


def shape(campaign: CampaignRecord, shown: Sequence[str] | None = None) -> Spec:
    """Return the shape of an overlay's points."""
    names = order(campaign)
    domain = [name for name in names if shown is None or name in shown]
    # a ninth overlay has the first's colour and another shape
    places = [names.index(name) for name in domain]
    shapes = [SHAPES[(place + place // COLOURS) % len(SHAPES)] for place in places]
    return {"field": "overlay", "title": None, "scale": {"domain": domain, "range": shapes}}


def tips(*fields: str) -> list[Spec]:
    """Return what a point tells when it is pointed at."""
    return [{"field": field} for field in fields]
