"""The report: one HTML file with everything in it, which the browser fetches nothing for.

Templates escape all that they are given. Scripts and styles are named in the page's own content
security policy by digest, so that nothing else can run, whatever results contain.
"""

import base64
import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from e3.evaluation import nat_matrix
from e3.evaluation.report import (
    charts,
    costs,
    criteria,
    decisions,
    diagrams,
    facts,
    fingerprint,
    model,
    privacy,
    vega,
    words,
)
from e3.evaluation.report.criteria import Comparisons
from e3.evaluation.report.statistics import CONFIDENCE, FEWEST, LEVEL, Ratio, Summary, summarise
from e3.evaluation.report.study import Cell, Runs, Study
from e3.evaluation.report.vegalite import COLOURS, Chart
from e3.evaluation.results import Installed, SetupRecord

TEMPLATES = Path(__file__).parent / "templates"
GRADES = {"yes": "good", "partly": "middle", "no": "bad", "open": "open"}
MOST_INVERSIONS = 30


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of a program in a cell."""

    overlay: str
    scenario: str
    program: str
    runs: Runs
    online: Summary | None
    setup_seconds: float | None
    ratio: Ratio | None
    parts: model.Parts | None


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """Two overlays of which one carries more in bulk while the other ends first."""

    scenario: str
    program: str
    faster_bulk: str
    faster_program: str
    bulk: tuple[float, float]
    online: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Cells that were measured under the same circumstances, and these."""

    e3: str
    commit: str
    cells: Sequence[str]
    setup: SetupRecord
    load: tuple[float, float]


def render(study: Study) -> str:
    """Return the report of a campaign."""
    ratios = criteria.comparisons(study)
    profiles = criteria.profiles(study, ratios)
    rows = _rows(study, ratios)
    drawn = charts.all_of(study, ratios, profiles)
    names = dict.fromkeys(overlay.overlay for overlay in study.campaign.overlays)
    return document(
        "report.html.j2",
        drawn,
        {
            "title": f"{study.campaign.name}: overlays for MPyC, compared",
            "study": study,
            "campaign": study.campaign,
            "profiles": profiles,
            "compared": [each for each in profiles if each.choice != study.baseline],
            "divided": {(scenario, program) for _, scenario, program in ratios},
            "decisions": decisions.decide(profiles),
            "users": (decisions.CASUAL, decisions.POWER, decisions.ENTERPRISE),
            "rows": rows,
            "ratios": ratios,
            "states": Counter(cell.state or "unfinished" for cell in study.cells.values()),
            "inversions": inversions(study),
            "diagrams": [diagrams.draw(scenario) for scenario in study.campaign.scenarios],
            "natures": criteria.natures(study),
            "nature_words": criteria.NATURE_WORDS,
            "stated": facts.load(),
            "key_of": facts.key_of,
            "resilience": facts.resilience(),
            "recovery": facts.recovery(),
            "nats": {name: paths for name in names if (paths := facts.nat_paths(name))},
            "classes": nat_matrix.CLASSES,
            "overlay_names": list(names),
            "exposures": privacy.exposures(study),
            "tried": privacy.tried(study),
            "vantages": privacy.VANTAGES,
            "phases": privacy.PHASES,
            "attack_words": privacy.ATTACKS,
            "recognised": _recognised(study),
            "sent": costs.sent(study),
            "prices": costs.prices(study),
            "manifests": _manifests(study),
            "commits": study.commits,
            "handshaking": any(profile.handshakes[1] is not None for profile in profiles),
            "energetic": any(profile.energy_joules is not None for profile in profiles),
            "no_energy": "; ".join(dict.fromkeys(it.machine.no_energy for _, it in study.ends()))
            or "no cell ran",
            "pairs": _pairs(study),
            "confidence": CONFIDENCE,
            "fewest": FEWEST,
            "level": LEVEL,
            "start_seconds": model.start_seconds(study),
            "median": _median,
            "overlay_index": _colours(study),
            "deploy_seconds": lambda name: _of_setups(study, name, "deploy_seconds"),
            "next_seconds": lambda name: _of_sessions(study, name),
            "installed": lambda name: _installed(study, name),
            "destroy_seconds": lambda name: _of_cells(study, name),
        },
    )


def _recognised(study: Study) -> Sequence[fingerprint.Recognition] | None:
    """Return what an observer of the wire recognises; None without what computes it."""
    try:
        return fingerprint.recognitions(study)
    except fingerprint.MissingError:
        return None


def document(template: str, drawn: Mapping[str, Chart], content: Mapping[str, Any]) -> str:
    """Return a page of a template, with charts, style and scripts in it."""
    library, own = vega.script(), (TEMPLATES / "report.js").read_text()
    style = (TEMPLATES / "report.css").read_text()
    specs = json.dumps(
        {name: chart.spec for name, chart in drawn.items()}, separators=(",", ":"), allow_nan=False
    )
    return (
        _environment()
        .get_template(template)
        .render(
            **content,
            as_seconds=words.seconds,
            charts=drawn,
            # the text of a script ends at the first "</", whatever it is within
            specs=Markup(specs.replace("<", "\\u003c")),  # noqa: S704 -- JSON of ours, made safe here
            library=Markup(_within_script(library)),  # noqa: S704 -- the package's
            own_script=Markup(own),  # noqa: S704 -- ours
            style=Markup(style),  # noqa: S704 -- ours
            policy=_policy(_within_script(library), own),
        )
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "seconds": words.seconds,
        "size": words.size,
        "times": words.ratio,
        "share": words.share,
        "foreign": words.foreign,
        "with_code": _with_code,
        "key_of": facts.key_of,
        "grade": lambda grade: GRADES[grade],
    }
    return environment


def _with_code(text: str) -> Markup:
    """Return a text of ours in which what stands between backticks is code."""
    parts = [escape(part) for part in text.split("`")]
    for place in range(1, len(parts), 2):
        parts[place] = Markup("<code>{}</code>").format(parts[place])
    return Markup("").join(parts)


def inversions(study: Study) -> Sequence[Inversion]:
    """Return where the overlay with the higher throughput ended a program later."""
    found: list[Inversion] = []
    for scenario in study.campaign.scenarios:
        bulk = {
            overlay.id: min(rates.values())
            for overlay in study.campaign.overlays
            if (cell := study.cells.get(f"{overlay.id}/{scenario.id}"))
            and (rates := cell.mbit_per_second("overlay"))
        }
        for program in study.campaign.programs:
            online = {
                name: summary
                for name in bulk
                if (
                    summary := summarise(
                        study.of(name, scenario.id, program.id).values("online_seconds")
                    )
                )
            }
            found.extend(
                Inversion(
                    scenario=scenario.id,
                    program=program.id,
                    faster_bulk=one,
                    faster_program=other,
                    bulk=(bulk[one], bulk[other]),
                    online=(online[one].median, online[other].median),
                )
                for one in online
                for other in online
                if bulk[one] > bulk[other] * 1.2 and _surely_less(online[other], online[one])
            )
    found.sort(key=lambda each: -each.bulk[0] / each.bulk[1] * each.online[0] / each.online[1])
    return found[:MOST_INVERSIONS]


def _surely_less(one: Summary, other: Summary) -> bool:
    """Return whether the intervals of two medians lie apart, the first below."""
    return one.high is not None and other.low is not None and one.high < other.low


def _rows(study: Study, ratios: Comparisons) -> Sequence[Row]:
    start = model.start_seconds(study)
    return [
        Row(
            overlay=cell.overlay.id,
            scenario=cell.scenario.id,
            program=program,
            runs=runs,
            online=summarise(runs.values("online_seconds")),
            setup_seconds=_median(runs, "setup_seconds"),
            ratio=ratios.get((cell.overlay.id, cell.scenario.id, program)),
            parts=model.parts(study, name, runs, start),
        )
        for (name, program), runs in study.runs.items()
        if (cell := study.cells[name])
    ]


def _median(runs: Runs, column: str) -> float | None:
    values = runs.values(column)
    return float(np.median(values)) if len(values) else None


def _colours(study: Study) -> Callable[[str], int]:
    """Return what gives the number of an overlay's colour."""
    places = {overlay.id: place for place, overlay in enumerate(study.campaign.overlays)}
    return lambda name: places[name] % COLOURS


def _of_setups(study: Study, overlay: str, name: str) -> float | None:
    values = [getattr(setup, name) for cell, setup in study.ends() if cell.overlay.id == overlay]
    return statistics.median(values) if values else None


def _of_sessions(study: Study, overlay: str) -> float | None:
    """Return the median over cells and programs of what a whole session takes."""
    medians = [
        took
        for (name, _), runs in study.runs.items()
        if study.cells[name].overlay.id == overlay
        and (took := _median(runs, "wall_seconds")) is not None
    ]
    return statistics.median(medians) if medians else None


def _installed(study: Study, overlay: str) -> Sequence[Installed]:
    """Return what hosts of an overlay have for it, as the last set-up tells."""
    found = [setup.installed for cell, setup in study.ends() if cell.overlay.id == overlay]
    return found[-1] if found else []


def _of_cells(study: Study, overlay: str) -> float | None:
    values = [
        cell.destroy_seconds
        for cell in study.cells.values()
        if cell.overlay.id == overlay and cell.destroy_seconds is not None
    ]
    return statistics.median(values) if values else None


def _pairs(
    study: Study,
) -> Sequence[tuple[Cell, Sequence[tuple[str, str, float | None, float | None]]]]:
    """Return the round trips of each cell's slowest ordered pairs, without overlay and with it."""
    found = []
    for cell in study.cells.values():
        under, over = cell.rtt_ms("underlay"), cell.rtt_ms("overlay")
        pairs = sorted(
            {*under, *over}, key=lambda pair: (-over.get(pair, under.get(pair, 0.0)), pair)
        )
        if pairs:
            shown = [(*pair, under.get(pair), over.get(pair)) for pair in pairs[:3]]
            found.append((cell, shown))
    return found


def _manifests(study: Study) -> Sequence[Manifest]:
    """Return the circumstances of all cells, those with the same together."""
    groups: dict[str, list[tuple[Cell, SetupRecord]]] = {}
    for cell, setup in study.ends():
        machine = setup.machine
        told = (
            *study.made_by(setup),
            *(cell.overlay.id, setup.versions, setup.programs),
            *(machine.kernel, machine.processor),
        )
        groups.setdefault(json.dumps(told, sort_keys=True), []).append((cell, setup))
    return [
        Manifest(
            e3=study.made_by(group[-1][1])[0],
            commit=study.made_by(group[-1][1])[1],
            cells=[cell.name for cell, _ in group],
            setup=group[-1][1],
            load=(
                min(setup.machine.load_1m for _, setup in group),
                max(setup.machine.load_1m for _, setup in group),
            ),
        )
        for group in groups.values()
    ]


def _within_script(text: str) -> str:
    """Return a script that cannot end the element which it stands in."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(*scripts: str) -> str:
    digests = [
        base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts
    ]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
