"""All charts of a campaign."""

from collections.abc import Mapping, Sequence

from e3.evaluation.report import overlay_charts, session_charts
from e3.evaluation.report.criteria import Comparisons, Profile
from e3.evaluation.report.study import Study
from e3.evaluation.report.vegalite import Chart


def all_of(study: Study, ratios: Comparisons, profiles: Sequence[Profile]) -> Mapping[str, Chart]:
    """Return the charts of a campaign by name, without those that would be empty."""
    made = [
        session_charts.slowdown(study, ratios),
        session_charts.distribution(study),
        session_charts.parts(study),
        session_charts.sweep(study),
        overlay_charts.joining(profiles),
        overlay_charts.bars(
            "wire",
            "Bytes on the wire for each byte that MPyC sends",
            "× sent",
            profiles,
            overlay_charts.wire,
        ),
        overlay_charts.bars(
            "cpu",
            "Processor time of the overlay's daemons, all hosts",
            "s a session",
            profiles,
            overlay_charts.cpu,
        ),
        overlay_charts.bars(
            "memory",
            "Memory of the overlay's daemons, largest host",
            "MB",
            profiles,
            overlay_charts.memory,
        ),
        overlay_charts.reach(study.campaign),
        session_charts.drift(study),
    ]
    return {chart.name: chart for chart in made if chart is not None}
