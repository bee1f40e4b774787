"""``e3 paths``: how every two hosts of a stack that is up reach each other, and how well."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict

import msgspec
from rich.text import Text

from e3.cli import project, terminal
from e3.cli.project import Verbs
from e3.errors import E3Error
from e3.evaluation.diagnosis import Diagnosis, diagnose
from e3.experiment import Choice
from e3.interfaces import Network
from e3.overlays import OVERLAYS
from e3.registry import build

FLOOD_SECONDS = 4.0  # of which TCP needs the first half to find its rate
HEADER = ("", "from", "to", "path", "overlay ms", "underlay ms")


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "paths",
        help="measure how every two hosts of a stack reach each other",
        description="Measure every ordered pair of hosts, over the overlay and below it.",
        epilog="exit status: 0, or 1 if a pair does not talk",
    )
    verb.add_argument("--stack", metavar="STACK", help="default: the selected one")
    verb.add_argument(
        "--throughput",
        action="store_true",
        help=f"measure that, too: {FLOOD_SECONDS:g} s a pair, one by one",
    )
    verb.add_argument("--json", action="store_true", help="print all as JSON")
    verb.set_defaults(do=show_paths)


def show_paths(arguments: argparse.Namespace) -> int:
    """Measure and print; return 1 if a pair does not talk."""
    state = project.export(arguments.stack)
    resources = (state.get("deployment") or {}).get("resources") or []
    stack, known = project.joined(resources), project.outputs(resources, "Overlay")
    if stack is None or known is None:
        raise E3Error("the stack is not up: it has no joined hosts; run `pulumi up` first")
    choice = Choice(name=stack.overlay, options=known["options"])
    network = {"addresses": known["addresses"], "memory": known.get("memory") or {}}
    found = asyncio.run(
        diagnose(
            build(OVERLAYS, choice, key="overlay"),
            stack.hosts,
            msgspec.convert(network, Network),
            flood_seconds=FLOOD_SECONDS if arguments.throughput else 0,
        )
    )
    if arguments.json:
        rows = [_properties(one) for one in found]
        print(json.dumps({"stack": stack.name, "overlay": stack.overlay, "paths": rows}, indent=2))
    else:
        _show(found, throughput=arguments.throughput)
    return int(any(one.level == "FAIL" for one in found))


def _properties(one: Diagnosis) -> dict[str, object]:
    """Return a path under the names that the stack output ``session.paths`` has."""
    values = asdict(one)
    ends = {"from": values.pop("source"), "to": values.pop("target")}
    return {**ends, "class": values.pop("path_class"), **values}


def _show(found: Sequence[Diagnosis], *, throughput: bool) -> None:
    rows: list[Sequence[str | Text]] = []
    for one in found:
        by = f" by {one.by}" if one.by else ""
        numbers = [_number(one.overlay_rtt_ms), _number(one.underlay_rtt_ms)]
        if throughput:
            numbers.append(_number(one.mbit_per_second))
        ends = (terminal.word(one.level), one.source, one.target, f"{one.path_class}{by}")
        rows.append((*ends, *numbers))
    terminal.show(rows, header=(*HEADER, "Mbit/s") if throughput else HEADER)
    for level in ("FAIL", "WARN"):
        for advice in _advice(found, level):
            print(f"{level}: {advice}")


def _advice(found: Sequence[Diagnosis], level: str) -> list[str]:
    """Return what to say, once for both directions of a pair."""
    said: dict[tuple[str, ...], str] = {}
    for one in found:
        if one.level == level:
            ends = tuple(sorted((one.source, one.target)))
            where = "" if one.source in one.advice else f"{one.source} to {one.target}: "
            said.setdefault(ends, f"{where}{one.advice}")
    return list(said.values())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
