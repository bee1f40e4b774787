"""Charts of overlays: joining hosts, overhead, and which hosts they reach."""

from collections.abc import Callable, Sequence

from e3.evaluation.report import facts
from e3.evaluation.report.criteria import Profile
from e3.evaluation.report.vegalite import ROW, Chart, Spec, base, digits, tips
from e3.evaluation.results import CampaignRecord

MEGA = 1e6
MARGIN = 1.18


def joining(profiles: Sequence[Profile]) -> Chart | None:
    """Return the seconds until all hosts were joined, and the last pair's first contact."""
    rows = [
        {"overlay": each.name, "until": until, "seconds": digits(seconds)}
        for each in profiles
        for until, seconds in (
            ("all joined", each.overlay_seconds),
            ("last first contact", each.contact_seconds),
        )
        if seconds is not None
    ]
    if not rows:
        return None
    domain = ["all joined", "last first contact"]
    spec = base(rows)
    spec["height"] = 13 * len(rows)
    spec["mark"] = {"type": "bar"}
    spec["encoding"] = {
        "y": _named(profiles),
        "yOffset": {"field": "until", "scale": {"domain": domain}},
        "x": {
            "field": "seconds",
            "type": "quantitative",
            "title": "seconds, median over scenarios",
        },
        "color": {
            "field": "until",
            "title": None,
            "scale": {"domain": domain, "range": ["var(--s1)", "var(--s4)"]},
            "legend": {"orient": "top"},
        },
        "tooltip": tips("overlay", "until", "seconds"),
    }
    return Chart(
        name="joining",
        title="Until hosts are joined",
        about="Seconds from the start of joining until the overlay had joined every pair, and "
        "until the last pair had exchanged its first data; medians over scenarios.",
        spec=spec,
    )


def bars(
    name: str,
    title: str,
    unit: str,
    profiles: Sequence[Profile],
    value: Callable[[Profile], float | None],
) -> Chart | None:
    """Return one bar for each overlay."""
    values = {each.name: digits(it) for each in profiles if (it := value(each)) is not None}
    rows = [{"overlay": name, "value": found} for name, found in values.items()]
    if not rows:
        return None
    spec = base(rows)
    spec["height"] = ROW * len(rows)
    spec["encoding"] = {
        "y": _named(profiles),
        "x": {
            "field": "value",
            "type": "quantitative",
            "title": unit,
            # room for the number behind the longest bar
            "scale": {"domainMax": digits(MARGIN * max(values.values())) or 1},
        },
        "tooltip": tips("overlay", "value"),
    }
    spec["layer"] = [
        {"mark": {"type": "bar", "color": "var(--s1)", "height": 12}},
        {
            "mark": {"type": "text", "align": "left", "dx": 5, "color": "var(--ink)"},
            "encoding": {"text": {"field": "value", "format": ".3~s" if unit == "MB" else ".3~g"}},
        },
    ]
    return Chart(
        name=name, title=title, about=f"Medians over scenarios and programs, {unit}.", spec=spec
    )


def reach(campaign: CampaignRecord) -> Chart | None:
    """Return how many pairs of classes of hosts each overlay joins directly, or relays."""
    colours = {"direct": "var(--s2)", "relayed": "var(--s1)", "not joined": "var(--soft)"}
    names = dict.fromkeys(each.overlay for each in campaign.overlays)
    rows: list[Spec] = []
    for name in names:
        found = [rule.path for rule in facts.nat_paths(name).values()]
        if not found:
            continue
        counts = {"direct": found.count("direct"), "relayed": found.count("relayed")}
        counts["not joined"] = len(found) - sum(counts.values())
        rows.extend(
            {"overlay": name, "path": path, "order": place, "pairs": number}
            for place, (path, number) in enumerate(counts.items())
        )
    if not rows:
        return None
    most = sum(row["pairs"] for row in rows) // len({row["overlay"] for row in rows})
    spec = base(rows)
    spec["height"] = ROW * len({row["overlay"] for row in rows})
    spec["mark"] = {"type": "bar", "height": 12, "stroke": "var(--quiet)", "strokeWidth": 0.5}
    spec["encoding"] = {
        "y": {"field": "overlay", "type": "nominal", "title": None, "sort": list(names)},
        "x": {"field": "pairs", "type": "quantitative", "title": "pairs of classes of hosts"},
        "order": {"field": "order"},
        "color": {
            "field": "path",
            "title": None,
            "scale": {"domain": list(colours), "range": list(colours.values())},
            "legend": {"orient": "top"},
        },
        "tooltip": tips("overlay", "path", "pairs"),
    }
    return Chart(
        name="reach",
        title="Pairs of hosts that find each other",
        about=f"Of all {most} pairs of two classes of hosts, how many an overlay joins directly, "
        "by a relay, or not at all.",
        spec=spec,
    )


def wire(profile: Profile) -> float | None:
    """Return bytes on the wire for each byte sent."""
    return profile.wire_share


def cpu(profile: Profile) -> float | None:
    """Return processor seconds of the daemons in a session."""
    return profile.daemon_cpu_seconds


def memory(profile: Profile) -> float | None:
    """Return megabytes of the daemons on the largest host."""
    found = profile.daemon_memory_bytes
    return None if found is None else found / MEGA


def _named(profiles: Sequence[Profile]) -> Spec:
    sort = [each.name for each in profiles]
    return {"field": "overlay", "type": "nominal", "title": None, "sort": sort}
